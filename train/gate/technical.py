"""Checks that need no labels: the probes and the time per text on this machine, int8 against fp32 by the manifest.

What int8 costs cannot be measured here: a bundle holds no other weights. Export measured it on its own test split; that
the int8 weights score here as they did there is what the probes show.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from moderation.bundle import Manifest
from moderation.scoring.scorer import Scorer
from train.gate.checks import Check
from train.gate.rules import Int8Rules, LatencyRules

ROUNDS = 3


class Latency(BaseModel):
    """Median time of one text, in ms; of the best of three rounds for each text, measured in turns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: int
    median_ms: float
    rival_median_ms: float | None


def probe_check(scorer: Scorer) -> Check:
    """Return the check that the bundle scores its probes on this machine as its manifest states."""
    probes = scorer.bundle.manifest.probes
    worst = scorer.worst_probe()
    name = f"largest difference of a score of {len(probes.examples)} probes from the manifest, by {scorer.backend}"
    return Check(
        group="probes",
        name=name,
        value=worst,
        limit=f"at most {probes.tolerance}",
        passed=worst <= probes.tolerance,
        reason=f"{name} is {worst:.5f}, expected at most {probes.tolerance}",
    )


def int8_checks(manifest: Manifest, rules: Int8Rules) -> list[Check]:
    """Return two checks of what export measured; a manifest that does not state them fails."""
    difference = _find(manifest.metrics, "int8", "mean_score_difference")
    above = _find(manifest.metrics, "int8", "above_fp32", "mean", "average_precision", "value")
    drop = None if above is None else -above
    return [
        _int8(
            "mean difference of a score between int8 and fp32, by the manifest", difference, rules.mean_score_difference
        ),
        _int8("mean average precision that int8 loses, by the manifest", drop, rules.average_precision_drop),
    ]


def _int8(name: str, value: float | None, limit: float) -> Check:
    stated = "is not stated" if value is None else f"is {value:.5f}"
    return Check(
        group="int8",
        name=name,
        value=value,
        limit=f"at most {limit}",
        passed=value is not None and value <= limit,
        reason=f"{name} {stated}, expected at most {limit}",
    )


def _find(metrics: Mapping[str, object], *keys: str) -> float | None:
    found: object = metrics
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def measure_latency(
    texts: Sequence[str], candidate: Callable[[list[str]], object], rival: Callable[[list[str]], object] | None
) -> Latency:
    """Time each text alone, one bundle after the other, so that a busy moment hits both."""
    scorers = [candidate] if rival is None else [candidate, rival]
    best = [[float("inf")] * len(texts) for _ in scorers]
    for _ in range(ROUNDS):
        for place, text in enumerate(texts):
            for number, score in enumerate(scorers):
                begun = time.perf_counter()
                score([text])
                best[number][place] = min(best[number][place], 1000 * (time.perf_counter() - begun))
    medians = [statistics.median(times) for times in best]
    return Latency(texts=len(texts), median_ms=medians[0], rival_median_ms=medians[1] if rival else None)


def latency_checks(latency: Latency, rules: LatencyRules) -> list[Check]:
    """Return a check of the median, and one of its ratio to production's."""
    checks = [
        _slow("median time of a text, in ms", latency.median_ms, latency.rival_median_ms, rules.median_ms),
    ]
    if latency.rival_median_ms is not None:
        ratio = latency.median_ms / latency.rival_median_ms
        checks.append(_slow("median time of a text over production's", ratio, None, rules.ratio))
    return checks


def _slow(name: str, value: float, rival: float | None, limit: float) -> Check:
    return Check(
        group="latency",
        name=name,
        value=value,
        rival=rival,
        limit=f"at most {limit:g}",
        passed=value <= limit,
        reason=f"{name} is {value:.2f}, expected at most {limit:g}",
    )
