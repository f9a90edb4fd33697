import numpy as np
import pytest

from train.perspective.words import counted, fit_words

HARSH = ("rotten", "vile")
MILD = ("garden", "river", "meadow")


def comments(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    generator = np.random.default_rng(seed)
    texts, targets = [], []
    for _ in range(count):
        chosen = generator.choice([*HARSH, *MILD], 6)
        texts.append(" ".join(chosen))
        targets.append(3.0 * np.isin(chosen, HARSH).mean() - 1)
    return texts, np.array(targets)


def test_words_are_learned_and_carry_over_to_other_comments() -> None:
    texts, targets = comments(400)
    model = fit_words(counted(texts), targets)
    new, truth = comments(200, seed=1)
    values = np.array([model.value(text) for text in new])
    assert np.corrcoef(values, truth)[0, 1] > 0.95
    assert np.abs(values - (truth - targets.mean())).mean() < 0.2
    assert model.value("a vile thing") > 0 > model.value("a garden by the river")


def test_runs_of_characters_know_a_word_that_is_written_otherwise() -> None:
    texts, targets = comments(400)
    model = fit_words(counted(texts), targets)
    assert model.value("rottenness") > model.value("gardening")


def test_the_fitted_value_is_the_regressions_own() -> None:
    texts, targets = comments(300)
    features = counted(texts)
    model = fit_words(features, targets)
    # The gradient of the ridge loss is 0 at its solution: X'(Xw - y) + w = 0, seen along the prediction itself.
    fitted = np.array([model.value(text) for text in texts])
    centred = targets - targets.mean()
    table = model._table
    assert fitted @ (centred - fitted) == pytest.approx((table[:, 1] ** 2).sum(), rel=0.01)


def test_nothing_to_learn_is_no_weight() -> None:
    texts, _ = comments(50)
    model = fit_words(counted(texts), np.full(50, 0.3))
    assert model.value(texts[0]) == pytest.approx(0, abs=1e-6)
