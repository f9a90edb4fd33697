"""Texts to calibrated scores: the one way, for evaluation and for serving.

A sigmoid per label after its calibration, never a softmax: the labels are not exclusive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moderation.bundle import ONNX_WEIGHTS, TOKENIZER, Bundle, Calibration, PlattCalibration
from moderation.errors import BundleError
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.tokens import TextTokenizer, TextTokens

UNCHANGED = PlattCalibration(scale=1.0, offset=0.0)


@dataclass(frozen=True)
class Scored:
    """Scores (N, K) in [0, 1] in label order; tokens that were read and whether text was cut, both (N,)."""

    scores: npt.NDArray[np.float32]
    tokens_read: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class Scorer:
    """A loaded bundle. `score` is blocking and may be called from several threads at once."""

    def __init__(self, bundle: Bundle, model: OnnxModel, tokenizer: TextTokenizer) -> None:
        """Take the parts as they are; `load` builds and checks them."""
        self.bundle = bundle
        self.labels = bundle.manifest.label_names
        self.backend = "onnxruntime-int8"
        self._model = model
        self._tokenizer = tokenizer
        self._calibrations = [label.calibration for label in bundle.manifest.labels]

    @classmethod
    def load(cls, bundle: Bundle, threads: int = 0) -> "Scorer":
        """Load the bundle's weights and check that its probes score as stated on this machine.

        Raises:
            BundleError: weights that do not load or do not fit the labels, or a probe out of tolerance.
        """
        model = OnnxModel(bundle.path / ONNX_WEIGHTS, threads)
        if model.num_outputs != len(bundle.manifest.labels):
            raise BundleError(
                f"{bundle.path} has weights for {model.num_outputs} labels, "
                f"its manifest states {len(bundle.manifest.labels)}"
            )
        scorer = cls(bundle, model, TextTokenizer(bundle.path / TOKENIZER, bundle.manifest.max_tokens))
        scorer._check_probes()
        return scorer

    def score(self, texts: Sequence[str]) -> Scored:
        """Score each text; the same text gets the same score alone and in any company."""
        return self.infer(self.tokenize(texts))

    def tokenize(self, texts: Sequence[str]) -> list[TextTokens]:
        """Return what the model reads of each text, in order; needs no inference thread."""
        tokens = self._tokenizer.encode(texts)
        return [TextTokens(ids, bool(cut)) for ids, cut in zip(tokens.ids, tokens.truncated, strict=True)]

    def infer(self, tokens: Sequence[TextTokens]) -> Scored:
        """Score what `tokenize` returned."""
        return Scored(
            scores=to_scores(self._model.logits([text.ids for text in tokens]), self._calibrations),
            tokens_read=np.array([len(text.ids) for text in tokens], dtype=np.int64),
            truncated=np.array([text.truncated for text in tokens], dtype=np.bool_),
        )

    def _check_probes(self) -> None:
        probes = self.bundle.manifest.probes
        found = self.score([probe.text for probe in probes.examples]).scores
        stated = np.array([probe.scores for probe in probes.examples], dtype=np.float32)
        worst = float(np.max(np.abs(found - stated)))
        if not worst <= probes.tolerance:  # also true of NaN
            raise BundleError(
                f"{self.bundle.path} scores its probes {worst:.4f} off what its manifest states "
                f"(tolerance {probes.tolerance}): wrong weights, or this CPU computes int8 differently; "
                "publish it again, or export it on this kind of machine"
            )


def to_scores(logits: npt.NDArray[np.float32], calibrations: Sequence[Calibration]) -> npt.NDArray[np.float32]:
    """Return the sigmoid of the calibrated logits, label by label; logits and scores have shape (N, K)."""
    platt = [calibration if calibration.method == "platt" else UNCHANGED for calibration in calibrations]
    scale = np.array([calibration.scale for calibration in platt])
    log_odds = logits * scale + np.array([calibration.offset for calibration in platt])
    for k, calibration in enumerate(calibrations):
        if calibration.method == "isotonic":
            knots, column = calibration.logits, log_odds[:, k]
            beyond = column - np.clip(column, knots[0], knots[-1])
            log_odds[:, k] = np.interp(column, knots, calibration.log_odds) + beyond
    # tanh form: no overflow for any finite logit.
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)), dtype=np.float32)
