"""A share of cases that were counted one by one, all alike, with its interval."""

from statistics import NormalDist

from moderation.errors import InvalidInputError
from moderation.statistics.sample import Estimate

_Z = NormalDist().inv_cdf(0.975)


def share(part: int, whole: int, without: str) -> Estimate:
    """Return ``part`` of ``whole`` with Wilson's interval (1927; method 3 in Newcombe, Statist. Med. 17, 1998).

    ``without`` says why there is no figure where there is no case.

    Raises:
        InvalidInputError: ``part`` is not between 0 and ``whole``.
    """
    if not 0 <= part <= whole:
        raise InvalidInputError(f"share: {part} of {whole}; expected a part between 0 and its whole")
    if not whole:
        return Estimate.refused(without)
    value, z2 = part / whole, _Z**2 / whole
    middle, half = value + z2 / 2, (z2 * value * (1 - value) + z2**2 / 4) ** 0.5
    return Estimate(value, max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2)), whole)
