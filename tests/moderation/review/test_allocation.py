from hypothesis import given
from hypothesis import strategies as st

from moderation.review.allocation import allocate

SHARES = {"removed": 0.2, "near": 0.3, "rest": 0.5}


def test_shares_are_kept_where_strata_are_large() -> None:
    assert allocate(dict.fromkeys(SHARES, 1_000), 100, SHARES, 5) == {"removed": 20, "near": 30, "rest": 50}


def test_what_a_small_stratum_leaves_goes_to_the_others() -> None:
    found = allocate({"removed": 2, "near": 1_000, "rest": 1_000}, 100, SHARES, 5)
    assert found["removed"] == 2
    assert sum(found.values()) == 100
    assert 1.5 < found["rest"] / found["near"] < 1.8


def test_small_shares_get_the_floor() -> None:
    shares = {"removed": 0.0, "rest": 1.0}
    assert allocate(dict.fromkeys(shares, 1_000), 50, shares, 5) == {"removed": 5, "rest": 45}


@given(
    counts=st.dictionaries(st.sampled_from(sorted(SHARES)), st.integers(0, 60)),
    budget=st.integers(1, 80),
    floor=st.integers(0, 10),
)
def test_no_stratum_gives_more_than_it_has_and_the_budget_is_used_up(
    counts: dict[str, int], budget: int, floor: int
) -> None:
    found = allocate(counts, budget, SHARES, floor)
    assert all(0 <= found[kind] <= counts.get(kind, 0) for kind in SHARES)
    assert sum(found.values()) == min(budget, sum(counts.values()))
    if budget >= floor * len(SHARES):
        assert all(found[kind] >= min(floor, counts.get(kind, 0)) for kind in SHARES)
