"""How a budget of reviews is split over strata.

Within a stratum items are drawn at random without replacement, so each has the same probability. Shares are a
decision of the deployment: they over-sample where errors are expected, as Neyman's allocation does (Cochran, *Sampling
Techniques*, 3rd ed., 1977, section 5.5), without needing to know the variances beforehand. The floor keeps every
probability above zero; without that, nothing can be said of a stratum.
"""

from collections.abc import Mapping

from moderation.errors import InvalidInputError


def allocate(counts: Mapping[str, int], budget: int, shares: Mapping[str, float], floor: int) -> dict[str, int]:
    """Return how many items to draw from each stratum of ``counts`` (items it holds), together at most ``budget``.

    Every stratum gets ``floor`` items first, or all it has; a budget too small for that is spread evenly. The rest goes
    by ``shares`` (relative; a stratum without one gets its floor only), and what a stratum cannot use goes to the
    others. The budget is used up unless every stratum with a share is drawn whole.

    Raises:
        InvalidInputError: a negative number, or a share of an unknown stratum.
    """
    if min([budget, floor, *counts.values(), *shares.values()]) < 0:
        raise InvalidInputError("allocation: budget, floor, counts and shares are expected to be 0 or more")
    if unknown := set(shares) - set(counts):
        raise InvalidInputError(f"allocation: shares name {sorted(unknown)}; the strata are {sorted(counts)}")
    quotas = dict.fromkeys(counts, 0)
    _fill(quotas, {name: min(floor, count) for name, count in counts.items()}, budget, dict.fromkeys(counts, 1.0))
    _fill(quotas, counts, budget, shares)
    return quotas


def _fill(quotas: dict[str, int], most: Mapping[str, int], budget: int, shares: Mapping[str, float]) -> None:
    """Give one item at a time to the stratum farthest behind its share, until ``most`` or the budget is reached."""
    for _ in range(budget - sum(quotas.values())):
        open_ = [name for name, share in shares.items() if share > 0 and quotas[name] < most[name]]
        if not open_:
            return
        quotas[min(open_, key=lambda name: ((quotas[name] + 1) / shares[name], name))] += 1
