"""How an input is cut into parts."""

import pickle

import pyarrow as pa
import pytest

from cli.partitions.plan import How, Plan, partition_rows
from moderation.policy import Policy


@pytest.mark.parametrize(
    ("num_rows", "rows"),
    [(0, 1024), (1, 1024), (20_000, 1024), (131_071, 1024), (131_072, 2048), (1_000_000, 15_360), (10**9, 16_384)],
)
def test_a_part_is_a_64th_of_the_input_between_a_chunk_and_16(num_rows: int, rows: int) -> None:
    assert partition_rows(num_rows) == rows


def test_the_digest_is_computed_once_and_travels_with_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(How("v", "text", "", Policy({})), (), pa.schema([]), 1024, ())
    digest = plan.digest
    monkeypatch.setattr(Plan, "identity", lambda self: pytest.fail("serialised again"))
    assert pickle.loads(pickle.dumps(plan)).digest == plan.digest == digest
