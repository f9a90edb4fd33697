"""The stages of a run, in order; training and the baseline keep their results in the run's folder."""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.torch import load_file
from transformers import TrainingArguments, set_seed

from moderation import clock
from moderation.bundle import TOKENIZER, TORCH_WEIGHTS, Bundle
from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.registry.opening import open_local
from moderation.scoring.tokens import TextTokenizer
from moderation.settings import RegistrySettings, load
from train.baseline import baseline_scores
from train.bundling import write_bundle
from train.checkpoints import remove_torn
from train.commit import code
from train.config import TrainConfig
from train.data.card import dataset_card, digest, order
from train.data.rows import FINDINGS, exports, load_rows
from train.disguises import disguised
from train.fit import fit, training_arguments
from train.folder import alone, claim, finish, finished, restart, save_weights, stated, write_text
from train.model import build, encoder_path, save_tokenizer
from train.perspective.reference import require_unseen
from train.quantization import read_rounded, round_weights
from train.start import begin_with, start_version
from train.teachers import ask, described, read_answers, softened, write_answers
from train.tiny import TINY, make_encoder
from train.tracking import Scored, Tracker, is_main

RUN = "run.json"
BASELINE = "baseline.parquet"
TEACHER = "teacher-{}.parquet"


def run(config: TrainConfig, anew: bool = False) -> Bundle | None:
    """Train what is not trained yet, and write the bundle to ``<run folder>/bundle``.

    A run that has finished with this config is left as it is, whatever the code is now, and its bundle is published
    and returned; ``anew`` deletes its folder first. Of several processes the first exports and returns the bundle;
    the others return None after training.

    Raises:
        InvalidInputError: data that cannot be used.
        ConfigurationError: an encoder that cannot be found, or a run folder that belongs to another run
            or to another process.
        UnavailableError: a checkpoint cannot be written.
    """
    with alone(config) if is_main() else nullcontext():
        return _run(config, anew)


def _run(config: TrainConfig, anew: bool) -> Bundle | None:
    rows = load_rows(config.data)
    arguments = training_arguments(config)
    if config.perspective is not None:
        require_unseen(config.perspective, rows)
    if is_main():
        teachers, start = described(config.teachers, rows), start_version(config.model.start)
        if anew:
            _check_encoder(config)  # with the line below the last that can be wrong: no error may cost the earlier run
            Tracker(config.tracking, config.run_dir).check()
            restart(config)
        claim(config, digest(rows), order(rows), _processes(), teachers, start)
    earlier = None if anew else finished(config)  # while the first process deletes, the others must not look
    if earlier is not None:
        return _again(config, earlier) if is_main() else None
    tracker = _begin(config, rows)
    arguments.report_to = list(dict.fromkeys([*tracker.report_to, *config.fit.report_to]))
    encoder = _train(config, rows, arguments)
    if arguments.process_index > 0:
        return None
    # A fresh one: accelerate leaves autocast around the forward of the trained one.
    model = build(config.model, encoder, config.run_dir / TOKENIZER)
    model.load_state_dict(load_file(config.run_dir / TORCH_WEIGHTS))
    rival = _baseline(config, rows) if config.baseline else None
    begun = json.loads((config.run_dir / RUN).read_text(encoding="utf-8"))
    origin = {key: begun[key] for key in ("git_commit", "git_dirty", "created_at")}
    origin |= {"run_url": tracker.url, "exports": exports(rows), "config": stated(config)}
    bundle, scores = write_bundle(config, rows, model.eval(), rival, origin)
    tracker.results(bundle.manifest.metrics, Scored(rows[rows["split"] == "test"], scores))
    _publish(config, bundle)
    tracker.finish()
    finish(config, bundle)
    return bundle


def _again(config: TrainConfig, bundle: Bundle) -> Bundle:
    print(
        f"{config.run_dir} has finished, trained at commit {bundle.manifest.provenance.git_commit[:12]}; its bundle is "
        f"kept as it is. To train anew: --restart, or --set name=NAME. To export its weights with the code of now: "
        f"delete {bundle.path}",
        file=sys.stderr,
    )
    _publish(config, bundle)
    return bundle


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate


def _publish(config: TrainConfig, bundle: Bundle) -> None:
    if config.publish:
        open_local(load(RegistrySettings)).publish(bundle.path)


def _begin(config: TrainConfig, rows: pd.DataFrame) -> Tracker:
    """Say what the data lack and start tracking; of several processes the first does both."""
    tracker = Tracker(config.tracking, config.run_dir)
    if is_main():
        for split, labels in rows.attrs[FINDINGS]["unknown"].items():
            if labels:
                print(f"the {split} split does not know {', '.join(labels)}: see the bundle's card", file=sys.stderr)
        begun = _begun(config)
        remove_torn(config.run_dir / "checkpoints", _processes())
        tracker.start(config, rows, dataset_card(rows, config.data).model_dump(mode="json"), begun)
    return tracker


def _train(config: TrainConfig, rows: pd.DataFrame, arguments: TrainingArguments) -> Path | str:
    """Leave the tokenizer and the best weights in the run's folder; return where the encoder came from."""
    weights, tokenizer = config.run_dir / TORCH_WEIGHTS, config.run_dir / TOKENIZER
    with arguments.main_process_first(local=False):
        encoder = _encoder(config, rows)
        if arguments.process_index == 0 and not tokenizer.exists():  # weights of an earlier release keep their words
            save_tokenizer(config.model, encoder, tokenizer)
        if not tokenizer.exists():  # of several machines, this one does not see what the first wrote
            raise ConfigurationError(f"{tokenizer} is not here: output_dir has to be a folder that all machines share")
        if not weights.exists():
            rows = _augmented(config, rows)
    if not weights.exists():
        set_seed(config.fit.seed)  # of the fresh head
        model = build(config.model, encoder, tokenizer)
        if config.model.start is not None:
            begin_with(model, config.model.start, tokenizer)
        if config.fit.quantization_aware:
            read_rounded(model)
        fit(config, arguments, model, rows, TextTokenizer(tokenizer, config.model.max_tokens))
        round_weights(model)
        if arguments.process_index == 0:
            save_weights(model, weights)
    return encoder


def _augmented(config: TrainConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of training with soft targets, and with disguised copies of some; the others as they are."""
    train = rows[rows["split"] == "train"]
    answers = []
    for number, teacher in enumerate(config.teachers):
        path = config.run_dir / TEACHER.format(number)
        if not path.exists():
            write_answers(ask(teacher, train), path)
        answers.append(read_answers(path))
    train = softened(train, config.teachers, answers)
    if config.disguise is not None:
        train = pd.concat([train, disguised(train, config.disguise)])
    return pd.concat([train, rows[rows["split"] != "train"]], ignore_index=True)


def _check_encoder(config: TrainConfig) -> None:
    if config.model.encoder != TINY:
        build(config.model, encoder_path(config.model.encoder))


def _encoder(config: TrainConfig, rows: pd.DataFrame) -> Path | str:
    if config.model.encoder != TINY:
        return encoder_path(config.model.encoder)
    texts = rows.loc[rows["split"] == "train", "comment_text"].tolist()
    return make_encoder(config.run_dir / "encoder", texts, config.model.max_tokens, config.fit.seed)


def _baseline(config: TrainConfig, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    path = config.run_dir / BASELINE
    if not path.exists():
        staging = path.with_suffix(".part")
        pd.DataFrame(baseline_scores(rows), columns=list(LABELS)).to_parquet(staging)
        staging.replace(path)
    return pd.read_parquet(path).to_numpy()


def _begun(config: TrainConfig) -> dict[str, Any]:
    """Return the code that the run was begun with, and under ``gone_on`` any other that trained a part of it."""
    path, now = config.run_dir / RUN, code()
    if not path.exists():
        begun = {**now, "created_at": clock.now().isoformat(timespec="seconds"), "gone_on": []}
        write_text(path, json.dumps(begun) + "\n")
        return begun
    begun = json.loads(path.read_text(encoding="utf-8"))
    last = (begun["gone_on"] or [begun])[-1]
    changed = any(last[key] != value for key, value in now.items())
    if changed and not (config.run_dir / TORCH_WEIGHTS).exists():
        print(
            f"{config.run_dir} was begun at commit {_named(begun)} and goes on at {_named(now)}: its bundle names the "
            f"first, {path} both. To train it with one code: --restart",
            file=sys.stderr,
        )
        begun["gone_on"].append(now)
        write_text(path, json.dumps(begun) + "\n")
    return dict(begun)


def _named(code: Mapping[str, Any]) -> str:
    return f"{code['git_commit'][:12]}{' with uncommitted changes' if code['git_dirty'] else ''}"
