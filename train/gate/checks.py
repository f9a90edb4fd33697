"""One check of the gate: what was measured, what is asked, and the verdict in words."""

from pydantic import BaseModel, ConfigDict

AGAINST_PRODUCTION = "against production"
"""The group of the paired comparison."""


class Check(BaseModel):
    """``value`` is the candidate's, ``rival`` production's; ``low`` and ``high`` bound what the reason says they do.

    ``margin`` stands where the verdict leans on production, not on a limit of its own: by how much the candidate may be
    worse. A check that has no ``value`` and passed found nothing to judge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    name: str
    label: str | None = None
    value: float | None
    rival: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    higher_is_better: bool = True
    limit: str
    passed: bool
    reason: str


def at_least(group: str, name: str, value: float, rival: float | None, limit: float, margin: float) -> Check:
    """Return whether a share reaches ``limit``; while production misses it, no worse than it by ``margin`` will do."""
    return _bound(group, name, (value, rival), (limit, margin), sign=1)


def at_most(group: str, name: str, value: float, rival: float | None, limit: float, margin: float) -> Check:
    """Return whether a gap is within ``limit``; while production's is not, no wider than it by ``margin`` will do."""
    return _bound(group, name, (value, rival), (limit, margin), sign=-1)


def nothing_to_judge(group: str, name: str, reason: str) -> Check:
    """Return the check that says why there is none."""
    return Check(group=group, name=name, value=None, limit="none", passed=True, reason=reason)


def _bound(group: str, name: str, values: tuple[float, float | None], asked: tuple[float, float], sign: int) -> Check:
    (value, rival), (limit, margin) = values, asked
    side = "at least" if sign > 0 else "at most"
    needed, rule, leaning = limit, f"{side} {limit:.1%}", None
    if rival is not None and sign * rival < sign * limit:
        needed = rival - sign * margin
        rule = f"{side} {needed:.1%} (production misses {limit:.1%} with {rival:.1%}, margin {margin:.1%})"
        leaning = margin if sign * value < sign * limit else None
    return Check(
        group=group,
        name=name,
        value=value,
        rival=rival,
        margin=leaning,
        higher_is_better=sign > 0,
        limit=rule,
        passed=sign * value >= sign * needed - 1e-12,
        reason=f"{name} is {value:.1%}, expected {rule}",
    )
