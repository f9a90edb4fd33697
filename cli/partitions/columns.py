"""The columns that files have together: each of one type that holds the values of all of them exactly."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from moderation.errors import InvalidInputError


def common_schema(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """Return the columns of all files, by the files' names; any may be null, as a file that lacks it has it.

    Raises:
        InvalidInputError: a column whose types in two files no type holds exactly, or that parquet cannot hold.
    """
    types: dict[str, pa.DataType] = {}
    first: dict[str, str] = {}
    for name, schema in schemas.items():
        for field in schema:
            try:
                types[field.name] = common_type(types.setdefault(field.name, field.type), field.type)
            except ValueError:
                raise InvalidInputError(
                    f"column {field.name!r} holds {field.type} in {name} and {types[field.name]} in "
                    f"{first[field.name]}; expected one type"
                ) from None
            first.setdefault(field.name, name)
    common = pa.schema(list(types.items()))
    try:
        pq.write_table(common.empty_table(), pa.BufferOutputStream())
    except pa.ArrowException as error:  # of types alone: there are no values
        raise InvalidInputError(f"parquet cannot hold the input's columns ({error})") from None
    return common


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds what two types hold: a wider number, large_string, or one of what they consist of.

    int64 and a fraction give float64, which holds whole numbers to 2^53: whoever casts finds larger ones.

    Raises:
        ValueError: there is none.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    both = (one, other)
    if any(map(pa.types.is_dictionary, both)):
        return common_type(*(each.value_type if pa.types.is_dictionary(each) else each for each in both))
    if all(pa.types.is_integer(each) or pa.types.is_floating(each) for each in both):
        return _number(one, other)
    if all(each in (pa.string(), pa.large_string(), pa.string_view()) for each in both):
        return pa.large_string()
    return _nested(one, other)


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    both = (one, other)
    if all(pa.types.is_list(each) or pa.types.is_large_list(each) for each in both):
        make = pa.large_list if any(map(pa.types.is_large_list, both)) else pa.list_
        return make(common_type(one.value_type, other.value_type))
    if all(map(pa.types.is_struct, both)):
        types: dict[str, pa.DataType] = {}
        for field in (*one, *other):
            types[field.name] = common_type(types.get(field.name, pa.null()), field.type)
        return pa.struct(list(types.items()))
    raise ValueError(f"{one} and {other}")


def _number(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(one) and pa.types.is_floating(other):
        return max(one, other, key=lambda each: each.bit_width)
    if pa.types.is_floating(one) or pa.types.is_floating(other):
        return pa.float64()
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return max(one, other, key=lambda each: each.bit_width)
    signed, unsigned = (one, other) if pa.types.is_signed_integer(one) else (other, one)
    bits = max(signed.bit_width, 2 * unsigned.bit_width)
    kinds = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
    if bits not in kinds:
        raise ValueError(f"{one} and {other}")
    return kinds[bits]


def conform(chunk: pa.RecordBatch, schema: pa.Schema, file: str) -> pa.RecordBatch:
    """Return ``chunk`` of a ``file`` with the columns of ``schema``: a column that it lacks is null.

    Raises:
        InvalidInputError: a number that the common type cannot hold.
    """
    if chunk.schema == schema:
        return chunk
    columns = []
    for field in schema:
        try:
            known = field.name in chunk.schema.names
            columns.append(chunk.column(field.name).cast(field.type) if known else pa.nulls(len(chunk), field.type))
        except pa.ArrowException:  # its message can hold the value
            raise InvalidInputError(
                f"column {field.name!r} of {file} holds a value that does not fit {field.type}, its type in other files"
            ) from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)
