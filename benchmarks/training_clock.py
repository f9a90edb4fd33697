"""A clock for the Trainer's steps."""

import time

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.matrix import synchronize

WARM_UP_STEPS = 5
"""Of at least ten times as many: the allocator and the loader's workers still settle."""


class Clock(TrainerCallback):
    """Times a training from the beginning of a step to the end of the last: ``share`` of its steps in ``seconds``."""

    seconds: float
    share: float

    def on_step_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        """Begin, if this is the step for it."""
        skipped = WARM_UP_STEPS if state.max_steps >= 10 * WARM_UP_STEPS else 0
        if state.global_step == skipped:
            self.share = 1 - skipped / state.max_steps
            self._begun = self._now()

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        """End."""
        self.seconds = self._now() - self._begun

    @staticmethod
    def _now() -> float:
        synchronize("cuda" if torch.cuda.is_available() else "cpu")
        return time.perf_counter()
