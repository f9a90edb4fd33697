"""The Hugging Face Trainer with our loss, optimiser, order of rows, stopping rule and errors of a full disk."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from moderation.errors import UnavailableError
from train.batches import Comments, GroupedSampler
from train.checkpoints import AVERAGE, BEST_METRIC, best_weights, is_out_of_patience, last_whole
from train.config import FitConfig
from train.losses import row_losses

HEAD = "head."
TARGETS = ("labels", "weight")
_LAYER = re.compile(r"\.layers?\.(\d+)\.")
WATCHED = {
    "loss": "training loss",
    "learning_rate": "learning rate",
    "eval_loss": "validation loss",
    "eval_macro_roc_auc": "macro ROC-AUC",
    f"eval_{BEST_METRIC}": "macro average precision",
}


class CommentTrainer(Trainer):
    """Weights rows by their sample weight over its mean, and resumes bit for bit on the same machine."""

    def __init__(self, fit: FitConfig, mean_weight: float, positive_weights: Tensor, **kwargs: Any) -> None:  # noqa: ANN401 - of Trainer
        """Take what `Trainer` takes, and what it does not know: the loss, learning rates and weights."""
        super().__init__(**kwargs)
        self.add_callback(Stopping(fit.patience))
        for kind in (PrinterCallback, ProgressCallback):  # which one there is depends on the level of logging
            self.remove_callback(kind)
        self.progress = Progress()
        self.add_callback(self.progress)
        self._fit = fit
        self._average: Average | None = None
        self._mean_weight = mean_weight
        self._positive_weights = positive_weights.to(self.args.device)
        if fit.average is not None:
            self._average = Average(cast(nn.Module, self.model), fit.average)
            self.add_callback(self._average)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002 - Trainer passes it
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, with its logits (N, K) if asked."""
        read = {name: part for name, part in inputs.items() if name not in TARGETS}
        logits = model(**read).float()
        losses = row_losses(logits, inputs["labels"], self._positive_weights, self._fit)
        loss = (losses * inputs["weight"]).mean() / self._mean_weight
        return (loss, {"logits": logits}) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build fused AdamW: the head has its own rate, layers theirs, biases and norms no weight decay."""
        if self.optimizer is None:
            groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
            named = dict((model or cast(nn.Module, self.model)).named_parameters())
            rates = learning_rates(list(named), self._fit)
            for rate, parameter in zip(rates, named.values(), strict=True):
                groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": parameters, "lr": rate, "weight_decay": self._fit.weight_decay if decays else 0.0}
                    for (rate, decays), parameters in groups.items()
                ],
                fused=True,
            )
        return self.optimizer

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:  # noqa: ANN401 - of Trainer
        """Evaluate the average where there is one: it is what is kept."""
        with self._average.in_place() if self._average else nullcontext():
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights to go on from, and before them the average."""
        if self._average is not None and output_dir is not None and self.args.should_save:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            self._average.save(Path(output_dir) / AVERAGE)
        super().save_model(output_dir, _internal_call)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._average is not None:
            self._average.load(Path(resume_from_checkpoint) / AVERAGE)

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        cast(nn.Module, self.model).load_state_dict(load_file(best_weights(best)))

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ANN401 - of Trainer
        rows = cast(Comments, train_dataset if train_dataset is not None else self.train_dataset)
        step = self._fit.batch_size * self._fit.gradient_accumulation
        return GroupedSampler([len(ids) for ids in rows.ids], step, self._fit.seed)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:  # noqa: ANN401 - of Trainer
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors do not raise OSError
            directory = Path(str(self.args.output_dir))
            shutil.rmtree(directory / f"checkpoint-{self.state.global_step}", ignore_errors=True)
            last = last_whole(directory, self.args.world_size)
            raise UnavailableError(
                f"cannot write checkpoint {self.state.global_step} to {directory} "
                f"({shutil.disk_usage(directory).free // 2**20} MiB free): {str(error).splitlines()[0]}; "
                f"the last good one is {last.name if last else 'none'}: make room and run the same command again"
            ) from error


class Average(TrainerCallback):
    """The exponential moving average of the weights: it generalises better than the last of them, and costs no serving.

    Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging (1992), average all steps alike; here
    the decay rises from 2 / 11, so that the first steps are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin with the weights of ``model``."""
        self._model = model
        self._decay = decay
        self._weights = {name: value.detach().clone() for name, value in self._values().items()}

    def _values(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._model.state_dict().items() if value.is_floating_point()}

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        """Move the average a little towards the weights."""
        decay = min(self._decay, (1 + state.global_step) / (10 + state.global_step))
        values = self._values()
        torch._foreach_lerp_(list(self._weights.values()), [values[name] for name in self._weights], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average while this lasts."""
        own = {name: value.detach().clone() for name, value in self._values().items()}
        self._model.load_state_dict(self._weights, strict=False)
        try:
            yield
        finally:
            self._model.load_state_dict(own, strict=False)

    def save(self, path: Path) -> None:
        """Write the average with the model's integers, which have none: all that a model of the same kind loads."""
        whole = self._model.state_dict() | self._weights
        save_file({name: value.contiguous() for name, value in whole.items()}, path)

    def load(self, path: Path) -> None:
        """Go on with the average in ``path``."""
        saved = load_file(path)
        for name, value in self._weights.items():
            value.copy_(saved[name])


def learning_rates(names: Sequence[str], fit: FitConfig) -> list[float]:
    """Return the rate of each parameter, in the model's order: it decays from each layer to the one below.

    What comes before the first layer (embeddings) counts as one more below it, what comes after (a last norm) as the
    top one.
    """
    found = [int(number[1]) if (number := _LAYER.search(name)) else None for name in names]
    layers = 1 + max((layer for layer in found if layer is not None), default=-1)
    rates, below = [], True
    for name, layer in zip(names, found, strict=True):
        below = below and layer is None
        depth = layers if below else 0 if layer is None else layers - 1 - layer
        head = name.startswith(HEAD)
        rates.append(fit.head_learning_rate if head else fit.learning_rate * fit.layer_decay**depth)
    return rates


class Progress(ProgressCallback):
    """The Trainer's progress bar with one short line per log; all figures go to the trackers."""

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,  # noqa: ANN401 - of Trainer
    ) -> None:
        """Print the epoch and the figures that people watch."""
        shown = [f"{name} {logs[key]:.4g}" for key, name in WATCHED.items() if key in logs] if logs else []
        bar = cast(Any, self.training_bar)
        if shown and logs and state.is_world_process_zero and bar is not None:
            bar.write(f"epoch {logs['epoch']:.2f}: " + ", ".join(shown))

    def close(self) -> None:
        """End the line of a bar that an error left, so that the error gets one of its own."""
        for bar in (cast(Any, self.training_bar), cast(Any, self.prediction_bar)):
            if bar is not None:
                bar.close()


class Stopping(TrainerCallback):
    """Stops when the validation metric no longer gets better, and evaluates after the last step."""

    def __init__(self, patience: int | None) -> None:
        """Allow ``patience`` evaluations without a better one; None: never stop early."""
        self._patience = patience

    def on_evaluate(  # the Trainer passes more, by name
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        """Stop if the history says so."""
        if is_out_of_patience(state.log_history, self._patience):
            control.should_training_stop = True

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,  # noqa: ARG002
    ) -> None:
        """Evaluate what ends between two evaluations, else its last steps could not be the best."""
        if args.eval_strategy == "steps" and state.global_step >= state.max_steps:
            control.should_evaluate = True
