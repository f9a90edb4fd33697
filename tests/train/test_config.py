from pathlib import Path

import pytest

from moderation.errors import ConfigurationError
from train.config import load

STARTER = Path("configs/train/tiny.yaml")


@pytest.mark.parametrize(
    "path",
    sorted(set(Path("configs/train").glob("*.yaml")) - {Path("configs/train/sweep.yaml")}),
    ids=lambda path: path.stem,
)
def test_every_config_of_the_repository_loads(path: Path) -> None:
    assert load(path).name == path.stem


def test_a_second_source_can_be_set() -> None:
    second = [f"data.sources.1.{value}" for value in ("layout=civil_comments", "path=b.csv", "licence=CC0")]
    assert [source.name for source in load(STARTER, second).data.sources][1:] == ["b.csv"]


def test_single_values_can_be_set() -> None:
    config = load(STARTER, ["data.sources.0.path=other.csv", "fit.epochs=1", "data.exclude=[]"])
    assert (config.data.name, config.fit.epochs, config.data.exclude) == ("other.csv", 1, ())


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("fit.epoch=1", "unknown key fit.epoch; did you mean fit.epochs\\?"),
        ("model.poling=mean", "did you mean model.pooling\\?"),
        ("pooling=mean", "did you mean model.pooling\\?"),
        ("poling=mean", "did you mean model.pooling\\?"),
        ("fit.epochs=-1", "greater than 0"),
        ("model.pooling=median", "mean"),
        ("name=Not A Name", "name"),
        ("fit", "section.key=value"),
        ("name.x=1", "no section"),
        ("data.path=x.csv", "unknown key data.path; did you mean data.sources.0.path"),
        ("data.sources.0.pth=x.csv", "unknown key data.sources.0.pth; did you mean data.sources.0.path\\?"),
        ("data.sources.2.path=x.csv", "no place 2 in a list of 1"),
        ("data.sources.1.path=x.csv", "data.sources.1: layout is missing"),
        ("fit.loss.name=dice", "fit.loss.name: 'dice' is none of 'bce', 'focal', 'asymmetric'"),
        ("data.sources.x.path=x.csv", "no place x in a list of 1"),
        ("data.sources.0.path=[", "not YAML"),
        ("data.sources.0.layout=tabel", "'tabel' .* 'table'"),
        ("data.sources.0.columns={txt: a}", "'txt'; expected some of id, comment_text"),
        ("data.sources=[]", "at least one source"),
        ("data.split.seed=1", "seed has no meaning for method hash"),
        ("data.split={test_share: 0.6, validation_share: 0.4}", "leave no rows"),
        ("data.near_duplicates=maybe", "'refuse', 'keep', 'drop' or 'together'"),
    ],
)
def test_an_override_that_does_not_fit_is_one_clear_line(override: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as error:
        load(STARTER, [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"name: [", b"name: x", "name: é".encode("latin-1")])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"config\.yaml"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        load(tmp_path / "missing.yaml")


def test_on_and_off_can_be_written_bare_though_yaml_takes_them_for_booleans() -> None:
    fit = load(Path("configs/train/tiny.yaml"), ["fit.compile=on", "fit.padding_free=off"]).fit
    assert (fit.compile, fit.padding_free) == ("on", "off")
    with pytest.raises(ConfigurationError, match=r"fit\.compile"):
        load(Path("configs/train/tiny.yaml"), ["fit.compile=perhaps"])


def test_a_config_can_extend_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(STARTER.read_text())
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nname: own\nfit: {epochs: 4}\nteachers: []\n")
    base, own = load(tmp_path / "base.yaml"), load(tmp_path / "own.yaml", ["fit.seed=3"])
    assert (own.name, own.fit.epochs, own.fit.seed, own.teachers) == ("own", 4, 3, ())
    assert own.data == base.data
    assert own.fit.learning_rate == base.fit.learning_rate


def test_a_config_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("extends: two.yaml")
    (tmp_path / "two.yaml").write_text("extends: one.yaml")
    with pytest.raises(ConfigurationError, match="extends itself"):
        load(tmp_path / "one.yaml")
