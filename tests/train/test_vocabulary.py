"""Emoji and disguised words as tokens: what they are read as, and what their rows begin with."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from moderation.bundle import ONNX_WEIGHTS, TOKENIZER, read_bundle, write_manifest
from moderation.errors import ConfigurationError
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.tokens import TextTokenizer
from tests.bundles import build_tiny_bundle
from tests.train.dataset import make_encoder
from train.config import ModelConfig
from train.export import export_int8, torch_logits
from train.model import build, save_tokenizer
from train.start import begin_with
from train.undisguise import MASK, undisguise
from train.vocabulary import FILE, additions, extend, give_meaning

PIECES = (
    "[PAD]",
    "[UNK]",
    "idiot",
    "stupid",
    "shit",
    "niger",
    "face",
    "great",
    "word",
    "pu",
    "##king",
    "with",
    "☺",
    "##∗",
    "f",
    "##o",
)
ROWS = 40
"""More than there are pieces, as in encoders whose rows are padded to a round number."""


def wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    extended = extend(wordpiece(), ROWS)
    undisguise(extended)
    return Tokenizer.from_str(extended.to_str())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("idot", "idiot"),
        ("stpuid", "stupid"),
        ("sh*t", "shit"),
        ("s**t", "shit"),
        ("sh!t", "shit"),
        ("SH*T", "shit"),
        ("sh#t", "shit"),
        ("st*p*d", "stupid"),
        ("s***", "shit"),
        ("i*iot", "idiot"),
        ("fcuk", "fuck"),
        ("1d107", "idiot"),
        ("5H17", "shit"),
        ("fuk", "fuck"),
        ("Sht", "shit"),
        ("😀", "grinning face"),
    ],
)
def test_a_disguise_is_a_token_that_stands_for_a_word(tokenizer: Tokenizer, text: str, meant: str) -> None:
    (token,) = tokenizer.encode(text).tokens
    assert additions(wordpiece().get_vocab())[token] == meant


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("great😀😀 word", ["great", "😀", "😀", "word"]),
        ("😀great", ["😀", "great"]),
        ("great ❤️‍🔥", ["great", "❤", "🔥"]),
        ("👍🏽", ["👍"]),
        ("☺", ["☺"]),
        ("f*o", ["f", "##∗", "##o"]),
        ("niger puking", ["niger", "pu", "##king"]),
        ("fukuoka word", ["[UNK]", "word"]),
        ("fuk's fuk1 fukø word", ["[UNK]", "[UNK]", "[UNK]", "[UNK]", "[UNK]", "word"]),
        ("great⭐ 1️⃣ 🆘", ["great", "⭐", "[UNK]", "🆘"]),
    ],
)
def test_other_words_are_read_as_before_and_beside_emoji(tokenizer: Tokenizer, text: str, tokens: list[str]) -> None:
    assert tokenizer.encode(text).tokens == tokens


def test_new_tokens_come_behind_all_rows_in_the_files_order(tokenizer: Tokenizer) -> None:
    found = additions(wordpiece().get_vocab())
    assert [tokenizer.token_to_id(token) for token in found] == list(range(ROWS, ROWS + len(found)))
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines if line.split("\t")[0] not in PIECES] == list(found)
    assert len(lines) == len(set(lines)) == len(found) + len(set(PIECES) & {line.split("\t")[0] for line in lines})


def test_no_word_that_is_meant_begins_with_a_token() -> None:
    """WordPiece takes the longest token that a word begins with."""
    found = additions({})
    words = {meant for token, meant in found.items() if len(token) > 1}
    assert not [token for token in found for word in words if word.startswith(token)]
    assert {"cut", "as", "niger", "inane", "tolls", "raed"}.isdisjoint(found)


@pytest.mark.parametrize(
    "ordinary",
    [
        *("naismith", "killdeer", "cetinski", "arrogate", "revoting", "pomposity", "dumbstruck", "nazim"),
        *("7watt", "5tablets", "5pics", "5hits", "pak1", "rap3", "hat3", "foo1", "f001", "but7", "4rsenal", "h311"),
        *("cok", "suk", "dik", "jek", "hel", "sut", "tud", "crp", "cnt", "wip", "pai"),
    ],
)
def test_an_ordinary_word_name_or_code_is_no_disguise(ordinary: str) -> None:
    """By itself and as a beginning; those that hold a sign stand for what is typed with one."""
    found = [token for token in additions({}) if token.isascii() and len(token) > 1]
    assert not [token for token in found if ordinary.startswith(token)]
    assert f"{ordinary}{MASK}" not in additions({})


def test_a_masked_word_is_the_first_of_those_it_may_be() -> None:
    found = additions({})
    assert found[f"f{MASK * 3}"] == "fuck"
    assert found[f"d{MASK}ck"] == "dick"
    assert found[f"b{MASK}tch"] == "bitch"


def test_a_row_begins_as_what_it_stands_for(tokenizer: Tokenizer) -> None:
    embeddings = nn.Embedding(1 + max(tokenizer.get_vocab().values()), 8)
    before = embeddings.weight.detach().clone()
    padded = Tokenizer.from_str(tokenizer.to_str())
    padded.enable_padding(length=128)
    give_meaning(embeddings, padded, ROWS)

    def row(token: str) -> torch.Tensor:
        return embeddings.weight[tokenizer.token_to_id(token)].detach()

    assert torch.equal(embeddings.weight[:ROWS], before[:ROWS])
    torch.testing.assert_close(row("idot"), row("idiot"))
    face, unknown = row("face"), row("[UNK]")  # the vocabulary has no "grinning"
    mean = (unknown + face) / 2
    again = nn.Embedding.from_pretrained(before.clone())
    give_meaning(again, tokenizer, ROWS)
    assert torch.equal(again.weight, embeddings.weight), "padding or the order of a dictionary decides nothing"
    torch.testing.assert_close(row("😀"), mean * (face.norm() + unknown.norm()) / 2 / mean.norm())


def test_a_tokenizer_of_another_kind_stays(tmp_path: Path) -> None:
    other = PreTrainedTokenizerFast.from_pretrained(make_encoder(tmp_path)).backend_tokenizer
    assert extend(other, 100).to_str() == other.to_str()


def bert(path: Path) -> Path:
    """Write a small BERT and its WordPiece tokenizer; return its folder."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=ROWS, max_position_embeddings=32, **sizes))
    with torch.no_grad():
        for weights in model.parameters():  # an export writes what is equal once
            weights.normal_(std=0.2)
    model.save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=wordpiece(), pad_token="[PAD]", unk_token="[UNK]").save_pretrained(path)
    return path


def made(encoder: Path, folder: Path, chosen: bool) -> tuple[CommentClassifier, Path]:
    """Return a model of ``encoder`` and the tokenizer file beside it, with or without rules and new words."""
    config = ModelConfig(encoder=str(encoder), undisguise=chosen, max_tokens=32)
    path = folder / f"{chosen}.json"
    save_tokenizer(config, encoder, path)
    return build(config, encoder, path).eval(), path


def as_bundle(model: CommentClassifier, tokenizer: Path, folder: Path) -> Path:
    """Write a bundle of ``model`` and of the tokenizer file, which is moved; return its folder."""
    manifest = read_bundle(build_tiny_bundle(folder)).manifest
    tokenizer.rename(folder / TOKENIZER)
    export_int8(model, folder / ONNX_WEIGHTS)
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[CommentClassifier, Path]:
    """Return a model without new words, and its bundle."""
    model, tokenizer = made(bert(tmp_path / "bert"), tmp_path, chosen=False)
    return model, as_bundle(model, tokenizer, tmp_path / "bundle")


def test_a_start_without_the_new_words_gives_them_their_meaning(
    bundle: tuple[CommentClassifier, Path], tmp_path: Path
) -> None:
    earlier, folder = bundle
    model, tokenizer = made(tmp_path / "bert", tmp_path, chosen=True)
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_()
    begin_with(model, folder, tokenizer)
    read = TextTokenizer(tokenizer, 32)
    plain, disguised = (torch_logits(model, read.encode([text]).ids) for text in ("stupid word", "st*p*d word"))
    torch.testing.assert_close(torch.tensor(plain), torch.tensor(disguised))
    expected = torch_logits(earlier, TextTokenizer(folder / TOKENIZER, 32).encode(["stupid word"]).ids)
    torch.testing.assert_close(torch.tensor(plain), torch.tensor(expected), atol=0.05, rtol=0.05)


def test_a_start_with_new_words_gives_a_model_without_the_others(tmp_path: Path) -> None:
    wide, tokenizer = made(bert(tmp_path / "bert"), tmp_path, chosen=True)
    folder = as_bundle(wide, tokenizer, tmp_path / "wide")
    model, plain = made(tmp_path / "bert", tmp_path, chosen=False)
    begin_with(model, folder, plain)
    assert model.encoder.get_input_embeddings().num_embeddings == ROWS
    ids = TextTokenizer(plain, 32).encode(["great stupid word"]).ids
    torch.testing.assert_close(
        torch.tensor(torch_logits(model, ids)), torch.tensor(torch_logits(wide, ids)), atol=0.05, rtol=0.05
    )


def test_a_vocabulary_with_other_numbers_is_refused(bundle: tuple[CommentClassifier, Path], tmp_path: Path) -> None:
    _, folder = bundle
    model, tokenizer = made(tmp_path / "bert", tmp_path, chosen=True)
    swapped = (
        tokenizer.read_text().replace('"stupid":', '"_":').replace('"great":', '"stupid":').replace('"_":', '"great":')
    )
    tokenizer.write_text(swapped)
    with pytest.raises(ConfigurationError, match="another vocabulary"):
        begin_with(model, folder, tokenizer)
