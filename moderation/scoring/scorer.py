"""Texts to calibrated scores: the one way, for evaluation and for serving.

A sigmoid per label after its calibration, never a softmax: the labels are not exclusive. A long text is read by
windows, and each label gets the highest score of any window, which is the score of its highest logit.
"""

import ctypes
import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from moderation.bundle import (
    ONNX_WEIGHTS,
    TOKENIZER,
    TORCH_WEIGHTS,
    Bundle,
    Calibration,
    PlattCalibration,
    Probe,
    Windows,
)
from moderation.errors import BundleError, ConfigurationError
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.tokens import Ids, TextTokenizer, TextTokens

logger = logging.getLogger(__name__)
UNCHANGED = PlattCalibration(scale=1.0, offset=0.0)
FIRST_WINDOW = Windows(overlap_tokens=0, max_windows=1)


class Model(Protocol):
    """What turns token ids into logits, for several threads at once."""

    device: str
    """``cpu`` or ``cuda``."""
    call_tokens: int
    """How many tokens a call should have to keep the device busy; 0: a text alone does."""

    @property
    def num_outputs(self) -> int:
        """K, the number of labels."""

    def logits(self, ids: Sequence[Ids]) -> npt.NDArray[np.float32]:
        """Return logits (N, K) for N windows, in order.

        Those of a window are the same alone and in any company, on a GPU but for rounding (docs/adr/0009).
        """


@dataclass(frozen=True)
class Scored:
    """Scores (N, K) in [0, 1] in label order; tokens that were read and whether some were left out, both (N,)."""

    scores: npt.NDArray[np.float32]
    tokens_read: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class Scorer:
    """A loaded bundle. Its methods block and may be called from several threads at once."""

    def __init__(self, bundle: Bundle, model: Model, backend: str) -> None:
        """Take the parts as they are; `load` builds and checks them."""
        manifest = bundle.manifest
        windows = manifest.windows or FIRST_WINDOW
        self.bundle = bundle
        self.labels = manifest.label_names
        self.backend = backend
        self.device = model.device
        self.call_tokens = model.call_tokens
        self._model = model
        self._tokenizer = TextTokenizer(
            bundle.path / TOKENIZER, manifest.max_tokens, windows.overlap_tokens, windows.max_windows
        )
        self._calibrations = [label.calibration for label in manifest.labels]

    @classmethod
    def load(cls, bundle: Bundle, threads: int = 0, backend: str = "auto") -> "Scorer":
        """Load the bundle's weights and check that its probes score as stated on this machine.

        ``auto`` takes torch where there is a GPU, unless another was faster at export, then the backend that the
        manifest states, then the exact one: the first whose probes are right here. Any other name takes that one alone.

        Raises:
            BundleError: weights that do not load or do not fit the labels, a device that cannot compute them, or no
                backend whose probes are right.
            ConfigurationError: torch was asked for and is not installed.
        """
        failed = []
        for name in _candidates(bundle) if backend == "auto" else (backend,):
            if any(_stated(bundle, probe, name) is None for probe in bundle.manifest.probes.examples):
                failed.append(f"{name} is not stated")
                continue
            try:
                scorer, off = cls._probed(bundle, name, threads)
            except (BundleError, ConfigurationError) as error:
                if backend != "auto" or name != "torch":  # the others read the one file that no bundle can do without
                    raise
                failed.append(f"torch: {error}")
                continue
            tolerance = _tolerance(bundle, name)
            if off <= tolerance:  # never true of NaN
                if failed:
                    logger.warning("%s: %s; scoring with the slower backend %s", bundle.path, "; ".join(failed), name)
                return scorer
            failed.append(f"{name} is {off:.4f} off, tolerance {tolerance}")
        raise BundleError(
            f"{bundle.path} does not score its probes as its manifest states ({'; '.join(failed)}): wrong weights, or "
            "this machine computes otherwise; publish it again, or export it on this kind of machine"
        )

    @classmethod
    def _probed(cls, bundle: Bundle, backend: str, threads: int) -> tuple["Scorer", float]:
        """Load one backend; return it with how far its worst probe is off."""
        try:
            scorer = cls(bundle, BACKENDS[backend](bundle, threads), backend)
            return scorer, scorer.worst_probe()
        except RuntimeError as error:  # a GPU's: no kernel for it, no memory left, lost
            reason = str(error).partition("\n")[0]
            raise BundleError(
                f"{bundle.path} cannot be computed by {backend} here ({type(error).__name__}: {reason})"
            ) from error

    def score(self, texts: Sequence[str]) -> Scored:
        """Score each text; the same text gets the same score alone and in any company."""
        return self.infer(self.tokenize(texts))

    def tokenize(self, texts: Sequence[str]) -> list[TextTokens]:
        """Return the tokens of each text, in order; cheap beside `infer`, and free of Python's lock."""
        return self._tokenizer.windows(texts)

    def tokenize_normalized(self, normalized_texts: Sequence[str]) -> list[TextTokens]:
        """Return what `tokenize` returns, of texts that were normalised for another purpose as well."""
        return self._tokenizer.windows_of_normalized(normalized_texts)

    def infer(self, tokens: Sequence[TextTokens]) -> Scored:
        """Score what `tokenize` returned.

        On CPU a call of one text costs no more than its share of a call of many, so who must know which text failed
        calls it text by text.
        """
        return Scored(
            scores=to_scores(self.logits(tokens), self._calibrations),
            tokens_read=np.array([text.tokens_read for text in tokens], dtype=np.int64),
            truncated=np.array([text.truncated for text in tokens], dtype=np.bool_),
        )

    def logits(self, tokens: Sequence[TextTokens]) -> npt.NDArray[np.float32]:
        """Return what the model says before calibration, (N, K) for N texts."""
        return text_logits(tokens, self._model.logits)

    def worst_probe(self) -> float:
        """Return how far a probe's score is off what the manifest states, at most."""
        examples = self.bundle.manifest.probes.examples
        found = self.score([probe.text for probe in examples]).scores
        stated = [_stated(self.bundle, probe, self.backend) for probe in examples]
        return float(np.max(np.abs(found - np.array(stated, dtype=np.float32))))


def has_gpu() -> bool:
    """Return whether torch can compute on a GPU here; it is imported only where a driver is."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _candidates(bundle: Bundle) -> Sequence[str]:
    """Return the backends to try, in order."""
    manifest = bundle.manifest
    on_cpu = (manifest.stated_backend, "fp32")
    on_gpu = ("torch",) if manifest.gpu_backend in (None, "torch") and has_gpu() else ()
    return tuple(dict.fromkeys((*on_gpu, *on_cpu)))


def _stated(bundle: Bundle, probe: Probe, backend: str) -> list[float] | None:
    """Return the scores that the manifest states for a backend, if it does."""
    if backend == "int8":
        return probe.scores
    if backend == "torch" and TORCH_WEIGHTS in bundle.manifest.files:
        return probe.torch_scores
    return probe.exact_scores


def _tolerance(bundle: Bundle, backend: str) -> float:
    probes = bundle.manifest.probes
    return probes.torch_tolerance if backend == "torch" else probes.tolerance


def _int8(bundle: Bundle, threads: int) -> Model:
    return _fitting(bundle, OnnxModel(bundle.path / ONNX_WEIGHTS, threads))


def _fp32(bundle: Bundle, threads: int) -> Model:
    path = bundle.path / ONNX_WEIGHTS
    return _fitting(bundle, OnnxModel(path, threads, graph=dequantized(path)))


def _torch(bundle: Bundle, threads: int) -> Model:  # noqa: ARG001 - torch has threads of its own
    try:
        from moderation.scoring.torch import TorchModel
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the backend torch needs {error.name}, which is not installed: pip install -r requirements/gpu.txt"
        ) from error
    return _fitting(bundle, TorchModel(bundle.path))


def _fitting(bundle: Bundle, model: Model) -> Model:
    if model.num_outputs != len(bundle.manifest.labels):
        raise BundleError(
            f"{bundle.path} has weights for {model.num_outputs} labels, "
            f"its manifest states {len(bundle.manifest.labels)}"
        )
    return model


BACKENDS: dict[str, Callable[[Bundle, int], Model]] = {"int8": _int8, "fp32": _fp32, "torch": _torch}


def text_logits(
    tokens: Sequence[TextTokens], logits: Callable[[Sequence[Ids]], npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """Return the highest logit of each label over a text's windows, (N, K) for N texts; calibration keeps the order."""
    windows = list(chain.from_iterable(text.windows for text in tokens))
    found = logits(windows)
    if len(windows) == len(tokens):
        return found
    firsts = np.cumsum([0, *(len(text.windows) for text in tokens[:-1])])
    return np.asarray(np.maximum.reduceat(found, firsts, axis=0))


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
