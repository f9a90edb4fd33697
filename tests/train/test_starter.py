"""The starter's recipe from its raw files to a measured bundle, shortened: made-up files, a tiny encoder, few steps."""

import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from moderation.bundle import ONNX_WEIGHTS, TORCH_WEIGHTS, Bundle, read_bundle
from moderation.labels import LABELS
from moderation.scoring.weights import read_back
from tests.train.dataset import MARKS
from train.__main__ import main as train
from train.data.__main__ import main as write_data
from train.perspective.config import PerspectiveSource
from train.quality.__main__ import main as measure
from train.teachers import read_answers

pytestmark = pytest.mark.timeout(900)  # twenty seconds on an idle machine
ROOT = Path(__file__).parents[2]
STARTER, GRADED, GRADED_SECOND, SECOND = (
    str(ROOT / "configs" / "train" / f"{name}.yaml")
    for name in ("starter", "graded", "graded-second", "starter-second")
)
SYLLABLES = ("ba", "ko", "mi", "ru", "te", "fal", "gin", "lop", "sed", "nur", "pir", "dol", "kem", "vas")
TINY = ['model.encoder="tiny:"', "model.max_tokens=32", "fit.max_steps=60", "fit.interval=30", "fit.average=0.9"]
RATES = ["fit.learning_rate=0.003", "fit.head_learning_rate=0.01"]
QUIET = ["tracking.mode=disabled", "publish=false"]


def texts(count: int, seed: int, label: str | None = None) -> list[str]:
    """Return sentences of words that nobody uses, no two alike, with the words of ``label``."""
    chance = random.Random(seed)

    def sentence() -> str:
        words = ["".join(chance.choices(SYLLABLES, k=2)) for _ in range(8)]
        return " ".join(words + ([chance.choice(MARKS[label]) for _ in range(3)] if label is not None else []))

    return [sentence() for _ in range(count)]


def labelled(count: int, seed: int) -> pd.DataFrame:
    """Return rows, half of them with one of the labels in turn."""
    parts = [
        pd.DataFrame({"comment_text": texts(count // 12, seed + number, label)}).assign(**{label: 1})
        for number, label in enumerate(LABELS)
    ]
    rows = pd.concat([*parts, pd.DataFrame({"comment_text": texts(count // 2, seed + 6)})], ignore_index=True)
    return rows.assign(**rows.reindex(columns=list(LABELS)).fillna(0).astype(int)).assign(
        id=[f"{seed}-{number}" for number in range(len(rows))]
    )


def graded(count: int, seed: int, **columns: str) -> pd.DataFrame:
    """Return rows with scores between 0 and 1 in the named ``columns``, one for each label."""
    rows = labelled(count, seed)
    noise = np.random.default_rng(seed).uniform(0, 0.3, (len(rows), len(LABELS)))
    scores = pd.DataFrame(0.65 * rows[list(LABELS)].to_numpy() + noise, columns=list(LABELS))
    return rows[["id", "comment_text"]].assign(**{theirs: scores[ours] for ours, theirs in columns.items()})


def write_files(folder: Path) -> None:
    """Write every file that the recipe reads, in its source's layout."""
    from train.config import load

    config = load(Path(STARTER))
    assert config.perspective is not None
    held: PerspectiveSource = config.perspective.sources[0]
    jigsaw = labelled(1800, 100).assign(row_index=lambda rows: range(0, 20 * len(rows), 20))
    civil = graded(60, 200, toxic="target")
    context = graded(900, 300, toxic="api").rename(columns={"comment_text": "text"})
    perspective = graded(480, 400, **held.scores)
    seen = perspective[["id", "comment_text"]].assign(**dict.fromkeys(LABELS, 0))
    swearing, plain = texts(40, 500, "toxic"), texts(40, 501)
    tweets = pd.DataFrame({"tweet": [*texts(20, 502, "identity_hate"), *texts(40, 503)], "class": [0] * 20 + [2] * 40})
    emoji = pd.DataFrame({"text": [*texts(20, 504, "identity_hate"), *texts(20, 505)], "label_gold": ["1", "0"] * 20})
    files = {
        "jigsaw_toxic_train": pd.concat([jigsaw, seen]),
        "civil_comments_10k": civil,
        "civil_context_perspective_dev": context,
        "paradetox": pd.DataFrame({"toxic": swearing, "neutral1": plain}),
        "hatemojibuild": emoji.assign(entry_id=range(40), file_split=["train"] * 30 + ["test"] * 10),
        "davidson": tweets,
        "perspective_wikipedia_2k": perspective,
        "toxic_spans_dev": pd.DataFrame({"text": jigsaw["comment_text"][:3]}),
    }
    (folder / "data").mkdir()
    for name, rows in files.items():
        rows.to_parquet(folder / "data" / f"{name}.parquet", index=False)
    shipped, own = ROOT / "train" / "templates", folder / "train" / "templates"
    own.mkdir(parents=True)
    for name in ("threats.yaml", "words.yaml"):
        shutil.copy(shipped / name, own)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    """Run what `make starter` runs; return the folder and the bundle with its figures."""
    folder = tmp_path_factory.mktemp("starter")
    write_files(folder)
    small = ["data.split.test_share=0.2", "data.split.validation_share=0.2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert write_data([STARTER, "--split", "train", "--output", "runs/starter-train.parquet", "--set", *small]) == 0
        assert train([GRADED, "--set", *TINY, *RATES, *QUIET, *small]) == 0
        assert train([STARTER, "--set", *TINY, *RATES, *QUIET, *small]) == 0
        # A tiny encoder's vocabulary is that of its texts: the first stage's, as a folder.
        ours = ["model.encoder=runs/starter/encoder", *TINY[1:], *RATES, *QUIET, *small]
        assert train([GRADED_SECOND, "--set", *ours]) == 0
        assert train([SECOND, "--set", *ours, "fit.quantization_aware=true"]) == 0
        parts = ["--without", "bias", "spans", "obfuscation", "speed", "--resamples", "20", "--output", "runs/measured"]
        assert measure([SECOND, "--bundle", "runs/starter-second/bundle", *parts, "--set", *small]) == 0
    return folder, read_bundle(folder / "runs" / "measured", LABELS)


def test_the_recipe_ends_in_a_measured_bundle_that_states_it(trained: tuple[Path, Bundle]) -> None:
    folder, bundle = trained
    first, teacher = (read_bundle(folder / "runs" / name / "bundle", LABELS) for name in ("starter", "graded-second"))
    config = bundle.manifest.provenance.config
    assert [each["version"] for each in config["teachers"]] == [first.version, teacher.version]  # type: ignore[attr-defined]
    assert config["disguise"] == {"share": 0.4, "weight": 1.0}
    assert config["model"]["undisguise"] is True  # type: ignore[index]
    assert bundle.perspective is not None
    assert "quality" in bundle.manifest.metrics
    assert [each["kind"] for each in first.manifest.provenance.config["teachers"]] == ["tfidf", "bundle"]  # type: ignore[attr-defined]


def test_both_stages_are_judged_on_the_same_rows(trained: tuple[Path, Bundle]) -> None:
    folder, bundle = trained
    first = read_bundle(folder / "runs" / "starter" / "bundle", LABELS)
    rows = [each.manifest.metrics["test"]["rows"] for each in (first, bundle)]
    assert rows[0] == rows[1]


def test_the_cards_say_what_they_were_trained_on_and_how(trained: tuple[Path, Bundle]) -> None:
    folder, bundle = trained
    card = (folder / "runs" / "starter" / "bundle" / "README.md").read_text()
    assert (
        "[davidson.parquet](https://github.com/t-davidson/hate-speech-and-offensive-language) | labels toxic 1" in card
    )
    assert "only label_gold 1, file_split train; weight 0.4; split train | CC BY 4.0" in card
    assert "part 0 to 0.75" in card
    version = read_bundle(folder / "runs" / "graded" / "bundle").version[:12]
    assert f"20% of the target of toxic is a teacher's: the bundle `runs/graded/bundle`, version `{version}`" in card
    assert "TF-IDF with logistic regression, answering out of fold (3 folds)" in card
    assert "Latin script only" in card
    assert "exponential moving average over the steps of training (decay 0.9)" in card
    assert "disguised copies, as many as 30% of them, at 1 of their weight" in card
    second, version = (
        (bundle.path / "README.md").read_text(),
        read_bundle(folder / "runs" / "starter" / "bundle").version,
    )
    assert "taught part 0.06 to 0.3984" in second
    assert "weight 0.3; split train; taught weight 2" in second
    assert (
        f"- The weights are those of the bundle `runs/starter/bundle`, version `{version[:12]}`, trained on." in second
    )
    assert "30% of the target of all labels is a teacher's: the bundle `runs/starter/bundle`" in second
    assert "Training read the weights rounded as the int8 file holds them" in second


def test_the_int8_file_holds_the_weights_that_were_trained(trained: tuple[Path, Bundle]) -> None:
    folder, bundle = trained
    floats, integers = (
        load_file(folder / "runs" / "starter-second" / TORCH_WEIGHTS),
        read_back(bundle.path / ONNX_WEIGHTS),
    )
    assert floats.keys() == integers.keys()
    for name, values in floats.items():
        np.testing.assert_array_equal(integers[name], values, err_msg=name)


def test_the_bundle_that_teaches_has_not_seen_what_it_teaches(trained: tuple[Path, Bundle]) -> None:
    folder, _ = trained
    rows = pd.read_parquet(folder / "runs" / "starter-train.parquet")
    answers = read_answers(folder / "runs" / "starter" / "teacher-1.parquet")
    assert len(answers) == len(rows)
    taught = ~np.isnan(answers[:, 0])
    assert set(rows["source"][taught]) == {"jigsaw_toxic_train.parquet"}
    share = taught.sum() / (rows["source"] == "jigsaw_toxic_train.parquet").sum()
    assert 0.75 < share < 0.95
