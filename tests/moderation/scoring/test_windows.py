"""Texts that are longer than one window."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from moderation.bundle import TOKENIZER, Windows, read_bundle, write_manifest
from moderation.errors import BundleError
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.scorer import Scorer
from moderation.scoring.tokens import TextTokenizer
from tests.bundles import MAX_TOKENS, build_tiny_bundle

OVERLAP = 16
STEP = MAX_TOKENS - OVERLAP


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    path = build_tiny_bundle(tmp_path_factory.mktemp("windows"))
    windows = Windows(overlap_tokens=OVERLAP, max_windows=3)
    write_manifest(path, read_bundle(path).manifest.model_copy(update={"windows": windows}))
    return Scorer.load(read_bundle(path), threads=2)


@pytest.mark.parametrize(
    ("words", "windows", "tokens_read", "truncated"),
    [
        (1, 1, 1, False),
        (MAX_TOKENS, 1, MAX_TOKENS, False),
        (MAX_TOKENS + 1, 2, MAX_TOKENS + 1, False),
        (MAX_TOKENS + 2 * STEP, 3, MAX_TOKENS + 2 * STEP, False),
        (MAX_TOKENS + 2 * STEP + 1, 3, MAX_TOKENS + 2 * STEP, True),
        (10_000, 3, MAX_TOKENS + 2 * STEP, True),
    ],
)
def test_a_text_is_read_by_as_many_windows_as_it_needs_up_to_a_bound(
    scorer: Scorer, words: int, windows: int, tokens_read: int, truncated: bool
) -> None:
    (text,) = scorer.tokenize(["word " * words])
    assert (len(text.windows), text.tokens_read, text.truncated) == (windows, tokens_read, truncated)
    scored = scorer.score(["word " * words])
    assert (scored.tokens_read.tolist(), scored.truncated.tolist()) == ([tokens_read], [truncated])


@pytest.mark.parametrize("known", [0, 1, MAX_TOKENS, MAX_TOKENS + 1, MAX_TOKENS + STEP + 3])
def test_every_token_that_is_read_counts_once_as_known_or_unknown(scorer: Scorer, known: int) -> None:
    (text,) = scorer.tokenize(["damn " * known + "word " * 40])
    assert (text.tokens_read, text.unknown_tokens) == (known + 40, 40)


def test_special_tokens_are_neither_read_twice_nor_unknown() -> None:
    tokenizer = TextTokenizer(STARTER_DIR / TOKENIZER, max_tokens=16, overlap_tokens=4, max_windows=3)
    for words in (5, 14, 15, 30):
        (text,) = tokenizer.windows(["🫨 " * words])  # newer than the vocabulary
        assert (text.tokens_read, text.unknown_tokens) == (words + 2, words)


def test_a_tokenizer_that_reads_bytes_knows_every_token(tmp_path: Path) -> None:
    letters = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / TOKENIZER))
    (text,) = TextTokenizer(tmp_path / TOKENIZER, max_tokens=16).windows(["🫨"])
    assert (text.tokens_read, text.unknown_tokens) == (4, None)


@pytest.mark.parametrize("place", [0, MAX_TOKENS - 1, MAX_TOKENS + 5, MAX_TOKENS + STEP + 20])
def test_an_insult_counts_wherever_it_stands(scorer: Scorer, place: int) -> None:
    words = ["word"] * (MAX_TOKENS + 2 * STEP)
    words[place] = "idiot"
    scores = scorer.score([" ".join(words), "word", "idiot"]).scores
    np.testing.assert_array_equal(scores[0], np.maximum(scores[1], scores[2]))


def test_windows_of_one_text_do_not_reach_its_neighbours(scorer: Scorer) -> None:
    some = ["thank", "word " * 150 + "idiot", "kill", "damn " * 70, "word"]
    alone = np.concatenate([scorer.score([text]).scores for text in some])
    np.testing.assert_array_equal(scorer.score(some).scores, alone)


@given(st.lists(st.sampled_from(["you", "thanks", "disgusting", "😀", "Ωmega"]), min_size=1, max_size=120))
@settings(max_examples=40, deadline=None)
def test_windows_hold_every_token_once_and_the_shared_ones_twice(words: list[str]) -> None:
    text, size, shared = " ".join(words), 16, 4
    whole = TextTokenizer(STARTER_DIR / TOKENIZER, 10_000).encode([text]).ids[0].tolist()
    (found,) = TextTokenizer(STARTER_DIR / TOKENIZER, size, shared, 1000).windows([text])
    inner = [window.tolist()[1:-1] for window in found.windows]
    assert inner[0] + [token for window in inner[1:] for token in window[shared:]] == whole[1:-1]
    assert found.tokens_read == len(whole)
    assert found.cost_tokens == sum(len(window) for window in found.windows)
    assert all(window[0] == whole[0] and window[-1] == whole[-1] for window in found.windows)


def test_one_thread_computes_every_window_in_the_calling_thread_with_the_same_scores(tmp_path: Path) -> None:
    bundle = read_bundle(build_tiny_bundle(tmp_path))
    some = ["thank", "word " * 150 + "idiot", "kill"]
    before = set(threading.enumerate())
    alone = Scorer.load(bundle, threads=1)
    found = alone.score(some).scores
    assert set(threading.enumerate()) <= before
    assert found.tobytes() == Scorer.load(bundle, threads=2).score(some).scores.tobytes()


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / TOKENIZER
    path.write_text('{"model": 1}')
    with pytest.raises(BundleError, match=TOKENIZER):
        TextTokenizer(path, 64)


def test_an_old_manifest_reads_one_window(tmp_path: Path) -> None:
    bundle = read_bundle(build_tiny_bundle(tmp_path))
    assert bundle.manifest.windows is None
    assert Scorer.load(bundle).score(["word " * 500]).tokens_read.tolist() == [MAX_TOKENS]
