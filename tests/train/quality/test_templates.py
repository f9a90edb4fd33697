import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from moderation.errors import InvalidInputError
from tests.train.quality.files import sentences, write_sentences
from train.quality.templates import TERMS, ratio, read_templates, template_bias


def score(texts: Sequence[str], slip: float = 0.0) -> npt.NDArray[np.float32]:
    """Score bad sentences high, and harmless ones that name deaf people by ``slip`` higher."""
    return np.array([[0.9 * ("awful" in text) + 0.05 + slip * ("deaf" in text)] * 6 for text in texts], np.float32)


def test_a_term_that_gets_false_positives_is_named_with_its_rate_and_ratio(tmp_path: Path) -> None:
    read = read_templates(write_sentences(tmp_path / "bias.parquet"))
    assert set(read["term"].dropna()) == {"deaf", "gay", "middle aged", "old"}
    fair, biased = (template_bias(lambda texts, s=slip: score(texts, s), read, 0.5, 50) for slip in (0.0, 0.5))
    figures = {figure.name: figure for figure in biased.figures}
    worst = figures["false_positive_rate_worst"]
    assert worst.what == "false-positive rate of the worst term (deaf)"
    assert worst.value == 1
    ratio_of = figures["false_positive_ratio_worst"]
    assert ratio_of.reached == "no"
    assert ratio_of.value == pytest.approx(1 / figures["false_positive_rate"].value)
    fair_ratio = next(figure for figure in fair.figures if figure.name == "false_positive_ratio_worst")
    assert (fair_ratio.value, fair_ratio.reached) == (0.0, "yes")
    assert all(figure.value == 1 for figure in fair.figures if "AUC" in figure.what)
    assert (
        any(figure.reached == "no" for figure in biased.figures if "BPSN" in figure.what) is False
    )  # ranks still right


def test_a_term_of_few_sentences_is_left_out_and_named() -> None:
    read = sentences().assign(term=lambda table: table["Text"].str.extract("(deaf|gay|middle aged|old)", expand=False))
    harmless = read.index[(read["term"] == "deaf") & (read["Label"] == "NOT_BAD")]
    bad = read.index[(read["term"] == "old") & (read["Label"] == "BAD")]
    part = template_bias(partial(score, slip=0.5), read.drop([*harmless[99:], *bad[99:]]), 0.5, 5)
    assert "2 terms with at least 100 sentences of either class; left out: deaf, old." in part.how
    assert {row.name.partition(" (")[0] for row in part.tables[0].rows} == {"gay", "middle aged"}
    worst = next(figure for figure in part.figures if figure.name == "false_positive_rate_worst")
    assert worst.value == 0
    with pytest.raises(InvalidInputError, match="no identity term stands in 100 sentences of either class among 200"):
        template_bias(score, read.head(200), 0.5, 5)


def test_a_single_false_positive_against_next_to_none_is_no_large_ratio() -> None:
    assert ratio((0, 700), (0, 36_000)).value == 0
    one = ratio((1, 700), (1, 36_000))
    assert one.value == pytest.approx(1)
    assert one.low < 1 < one.high
    many = ratio((70, 700), (360, 36_000))
    assert many.value == pytest.approx(10)
    assert 7 < many.low < 10 < many.high < 14
    assert math.isnan(ratio((0, 700), (10, 36_000)).high)


def test_a_longer_term_is_found_before_the_one_it_holds() -> None:
    for place, term in enumerate(TERMS):
        assert not any(term != later and term in later for later in TERMS[place + 1 :])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bias.parquet"
    with pytest.raises(InvalidInputError, match=r"no file .*bias\.parquet; .*--without bias"):
        read_templates(path)
    path.write_text("no parquet")
    with pytest.raises(InvalidInputError, match="cannot be read as parquet"):
        read_templates(path)
    pd.DataFrame({"Text": ["a"], "Label": ["UGLY"]}).to_parquet(path)
    with pytest.raises(InvalidInputError, match="has Label UGLY; expected NOT_BAD or BAD"):
        read_templates(path)
    sentences().query("Label == 'BAD'").to_parquet(path)
    with pytest.raises(InvalidInputError, match="one class only"):
        read_templates(path)
