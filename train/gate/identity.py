"""Do texts that mention an identity group, and do not have the label, get it more often than others?

Groups are found by words, so a text that speaks of a group in other words is not seen, and a word with another
meaning ("black box") is. The slices come from the frozen data and inherit what its raters thought.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from moderation.labels import LABELS
from train.gate.checks import Check, at_most, nothing_to_judge
from train.gate.frozen import FrozenData
from train.gate.rules import IdentityRules
from train.metrics.identity import masks
from train.metrics.ranking import FloatArray
from train.metrics.resampling import resample

RESAMPLES = 400


class Slice(BaseModel):
    """A group's rows without the label, and two gaps in [-1, 1] per bundle; the rate gap has a 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str
    rows: int
    judged: bool
    rate: float
    rate_gap: float
    low: float
    high: float
    calibration_gap: float
    rival_rate_gap: float | None
    rival_calibration_gap: float | None


@dataclass(frozen=True)
class Answered:
    """The scores (N,) of one label by one bundle, and the threshold from which it counts."""

    scores: npt.NDArray[np.float32]
    threshold: float


def identity_slices(data: FrozenData, candidate: Answered, rival: Answered | None, rules: IdentityRules) -> list[Slice]:
    """Return the slices of the rules' groups, those without a row left out."""
    truth = data.truth[:, LABELS.index(rules.label)]
    member = masks(data.texts, rules.groups)
    background = (truth == 0) & ~np.any(list(member.values()), axis=0)
    kept = {group: mask for group, mask in member.items() if (mask & (truth == 0)).any()}
    if not kept or not background.any():
        return []
    negative = np.array([background, *(mask & (truth == 0) for mask in kept.values())], dtype=np.float64)
    whole = np.array([mask & ~np.isnan(truth) for mask in kept.values()], dtype=np.float64)

    def gaps(answered: Answered, weights: FloatArray) -> FloatArray:
        rates = negative @ (weights * (answered.scores >= answered.threshold)) / np.maximum(negative @ weights, 1e-12)
        return np.asarray(rates[1:] - rates[0])

    def shift(answered: Answered) -> FloatArray:
        error = np.nan_to_num(data.weights * (answered.scores - truth))
        return np.asarray(np.abs(whole @ error) / (whole @ data.weights))

    own = gaps(candidate, data.weights)
    draws = np.array([gaps(candidate, drawn) for drawn in resample(data.weights, RESAMPLES)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    base = negative[0] @ (data.weights * (candidate.scores >= candidate.threshold)) / (negative[0] @ data.weights)
    return [
        Slice(
            group=group,
            rows=int(negative[g + 1].sum()),
            judged=bool(negative[g + 1].sum() >= rules.min_rows),
            rate=float(own[g] + base),
            rate_gap=float(own[g]),
            low=float(low[g]),
            high=float(high[g]),
            calibration_gap=float(shift(candidate)[g]),
            rival_rate_gap=float(gaps(rival, data.weights)[g]) if rival else None,
            rival_calibration_gap=float(shift(rival)[g]) if rival else None,
        )
        for g, group in enumerate(kept)
    ]


def identity_checks(slices: list[Slice], rules: IdentityRules) -> list[Check]:
    """Return two checks, of false-positive rate and calibration, for each slice that is large enough."""
    judged = [each for each in slices if each.judged]
    if not judged:
        reason = f"identity: no group is mentioned by {rules.min_rows} texts without {rules.label}"
        return [nothing_to_judge("identity", "identity slices", reason)]
    return [
        at_most(
            "identity",
            f"{name}, texts that mention {each.group} ({each.rows} rows)",
            getattr(each, field),
            getattr(each, f"rival_{field}"),
            limit,
            rules.margin,
        )
        for name, field, limit in (
            ("false-positive rate above background", "rate_gap", rules.rate_gap),
            ("calibration gap", "calibration_gap", rules.calibration_gap),
        )
        for each in judged
    ]
