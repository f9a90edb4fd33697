"""Is the candidate near the best that any promoted version reached, not only near the last one?

Against production alone each promotion could stand a margin below the one before, and a series of them sink step by
step. So a figure that may be a margin worse than production's may be no more than that margin worse than the best
figure of all promoted versions, by the kept gate reports on the same data. Point against point: scores of former
versions are not kept, so nothing is paired. What a version reached before it was rolled back does not count.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from train.gate.checks import AGAINST_PRODUCTION, Check
from train.gate.report import GateReport

GROUP = "against the best"


@dataclass(frozen=True)
class Promoted:
    """Versions that were promoted and not rolled back, and the kept gate reports on them."""

    versions: Collection[str] = ()
    reports: Sequence[GateReport] = ()


def anchor_checks(checks: Sequence[Check], promoted: Promoted, data_digest: str, rules_digest: str) -> list[Check]:
    """Return a check for every one that leans on production and that a promoted version was better at."""
    found = []
    for check in checks:
        if check.margin is None or check.value is None or check.rival is None:
            continue
        sign = 1 if check.higher_is_better else -1
        best = max(_figures(check, promoted, data_digest, rules_digest), key=lambda each: sign * each[0], default=None)
        if best is not None and sign * best[0] > sign * check.rival:
            found.append(_against(check, check.value, check.margin, best))
    return found


def _figures(check: Check, promoted: Promoted, data_digest: str, rules_digest: str) -> Iterator[tuple[float, str]]:
    """Yield what promoted versions reached at ``check``, and which they were.

    What is compared with production depends on the data alone; the rest on cases and groups too, so on the rules.
    """
    for report in promoted.reports:
        if report.data.digest != data_digest or (
            check.group != AGAINST_PRODUCTION and report.rules_digest != rules_digest
        ):
            continue
        against = report.against.version if report.against else ""
        for each in report.checks:
            if (each.group, each.name, each.label) == (check.group, check.name, check.label):
                for version, value in ((report.candidate.version, each.value), (against, each.rival)):
                    if version in promoted.versions and value is not None:
                        yield value, version


def _against(check: Check, value: float, margin: float, best: tuple[float, str]) -> Check:
    reached, version = best
    sign, side = (1, "at least") if check.higher_is_better else (-1, "at most")
    needed = reached - sign * margin
    name = f"{check.label}: {check.name}" if check.label else check.name
    return Check(
        group=GROUP,
        name=check.name,
        label=check.label,
        value=value,
        rival=reached,
        margin=margin,
        higher_is_better=check.higher_is_better,
        limit=f"{side} {needed:.4f}",
        passed=sign * value >= sign * needed - 1e-12,
        reason=f"{name} is {value:.4f}, expected {side} {needed:.4f}: {version[:12]}, which was promoted, has "
        f"{reached:.4f} (margin {margin:.3f})",
    )
