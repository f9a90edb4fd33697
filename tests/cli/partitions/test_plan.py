"""How an input is cut into parts."""

import pytest

from cli.partitions.plan import partition_rows


@pytest.mark.parametrize(
    ("num_rows", "rows"),
    [(0, 1024), (1, 1024), (20_000, 1024), (131_071, 1024), (131_072, 2048), (1_000_000, 15_360), (10**9, 16_384)],
)
def test_a_part_is_a_64th_of_the_input_between_a_chunk_and_16(num_rows: int, rows: int) -> None:
    assert partition_rows(num_rows) == rows
