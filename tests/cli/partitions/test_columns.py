"""Types that files have together: wide enough for every value, or refused."""

import pyarrow as pa
import pytest

from cli.partitions.columns import common_schema, common_type, conform
from moderation.errors import InvalidInputError

WORDS = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.null(), pa.date32(), pa.date32()),
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.string(), WORDS, pa.string()),
        (WORDS, WORDS, WORDS),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
        (
            pa.struct({"a": pa.int64()}),
            pa.struct({"b": pa.string(), "a": pa.null()}),
            pa.struct({"a": pa.int64(), "b": pa.string()}),
        ),
    ],
)
def test_a_type_that_holds_both_is_found_and_cast_to(one: pa.DataType, other: pa.DataType, both: pa.DataType) -> None:
    assert common_type(one, other) == common_type(both, one) == both
    schema = common_schema({"a": pa.schema({"x": one}), "b": pa.schema({"x": other})})
    for each in (one, other):
        assert conform(pa.record_batch({"x": pa.nulls(2, each)}), schema, "a").schema == schema


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.decimal128(20, 2), pa.float64()),
        (pa.string(), pa.binary()),
        (pa.uint64(), pa.int64()),
        (pa.string(), pa.int64()),
        (pa.bool_(), pa.int64()),
        (pa.timestamp("s"), pa.timestamp("us")),
    ],
)
def test_types_that_would_change_values_are_refused(one: pa.DataType, other: pa.DataType) -> None:
    with pytest.raises(InvalidInputError, match=r"column 'x' holds .* in b and .* in a; expected one type"):
        common_schema({"a": pa.schema({"x": one}), "b": pa.schema({"x": other})})


def test_a_column_that_only_one_file_has_may_be_null() -> None:
    schema = common_schema({"a": pa.schema([pa.field("x", pa.int64(), nullable=False)]), "b": pa.schema({"y": WORDS})})
    assert all(field.nullable for field in schema)
    assert conform(pa.record_batch({"y": pa.nulls(1, WORDS)}), schema, "b").to_pylist() == [{"x": None, "y": None}]


def test_what_parquet_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"parquet cannot hold the input's columns \(.*'m'"):
        common_schema({"a": pa.schema({"text": pa.string(), "m": pa.struct({})})})
