import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import InvalidInputError
from moderation.statistics.design import allocate

NAMES = ("removed", "near", "disputed", "rest")


def test_a_budget_is_split_by_shares_where_all_strata_are_large() -> None:
    counts = dict.fromkeys(NAMES, 10_000)
    shares = {"removed": 0.2, "near": 0.4, "disputed": 0.1, "rest": 0.3}
    assert allocate(counts, 1000, shares, 5) == {"removed": 200, "near": 400, "disputed": 100, "rest": 300}


def test_what_a_small_stratum_cannot_use_goes_to_the_others_by_their_shares() -> None:
    counts = {"removed": 50, "near": 10_000, "rest": 10_000}
    quotas = allocate(counts, 650, {"removed": 0.5, "near": 0.3, "rest": 0.2}, 0)
    assert quotas == {"removed": 50, "near": 360, "rest": 240}


def test_a_stratum_without_a_share_gets_its_floor() -> None:
    assert allocate({"near": 100, "rest": 100}, 50, {"near": 1.0}, 4) == {"near": 46, "rest": 4}


def test_a_budget_below_the_floors_is_spread_evenly() -> None:
    assert sorted(allocate(dict.fromkeys(NAMES, 9), 6, dict.fromkeys(NAMES, 1.0), 5).values()) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("counts", "budget", "shares", "floor", "said"),
    [
        ({"rest": 3}, -1, {}, 0, "0 or more"),
        ({"rest": 3}, 1, {"rest": -0.5}, 0, "0 or more"),
        ({"rest": 3}, 1, {"near": 0.5}, 0, "near"),
    ],
)
def test_nonsense_is_refused(
    counts: dict[str, int], budget: int, shares: dict[str, float], floor: int, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        allocate(counts, budget, shares, floor)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.tuples(st.integers(0, 300), st.floats(0.01, 1)), min_size=1),
    st.integers(0, 600),
    st.integers(0, 20),
)
def test_quotas_keep_to_counts_budget_and_floor(strata: dict[str, tuple[int, float]], budget: int, floor: int) -> None:
    counts = {name: count for name, (count, _) in strata.items()}
    quotas = allocate(counts, budget, {name: share for name, (_, share) in strata.items()}, floor)
    assert all(0 <= quotas[name] <= counts[name] for name in counts)
    assert sum(quotas.values()) == min(budget, sum(counts.values()))
    floors = {name: min(floor, count) for name, count in counts.items()}
    if sum(floors.values()) <= budget:
        assert all(quotas[name] >= floors[name] for name in counts)
