"""How a budget of reviews is split over strata."""

from collections.abc import Mapping


def allocate(counts: Mapping[str, int], budget: int, shares: Mapping[str, float], floor: int) -> dict[str, int]:
    """Return how many to draw from each stratum of ``shares``, at most its count and in all at most ``budget``.

    Every stratum first gets ``floor`` (fewer, evenly, if the budget is smaller), then what its share lacks; what small
    strata leave goes to the others by their shares, so the budget is used up unless all are drawn.
    """
    sizes = dict.fromkeys(shares, 0)
    room = {kind: counts.get(kind, 0) for kind in shares}
    target = {kind: max(floor, share * budget) for kind, share in shares.items()}
    # One at a time to whoever is furthest below its target; first the floors.
    for bound in ({kind: min(floor, room[kind]) for kind in shares}, room):
        while sum(sizes.values()) < budget and (open_ := [kind for kind in shares if sizes[kind] < bound[kind]]):
            kind = min(open_, key=lambda each: (sizes[each] + 1) / max(target[each], 1e-9))
            sizes[kind] += 1
    return sizes
