import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers

from tests.train.dataset import make_encoder
from train.config import ModelConfig
from train.model import save_tokenizer
from train.undisguise import MASK, undisguise
from train.vocabulary import additions


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    known = ["[UNK]", f"##{MASK}", *(token for token in additions({}) if token.endswith(MASK))]
    made = Tokenizer(models.WordLevel({token: number for number, token in enumerate(known)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    undisguise(made)
    return Tokenizer.from_str(made.to_str())  # as a bundle's file gives it


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Fuk, 'sht' 5H17's", f"fuk{MASK}, 'sht{MASK}' 5h17's"),
        ("you s t u p i d man", "you stupid man"),
        ("S.T.U.P.I.D", "stupid"),
        ("s-t-u-p-i-d and s_h_i_t", "stupid and shit"),
        ("ѕtuріd", "stupid"),
        ("st0p th4t w1ck3d pl4n", "stop that wicked plan"),
        ("a$$hole b@d", "asshole bad"),
        ("stooooop nooo", "stoop nooo"),
        ("fuuuuck smmmmells ssssstupid, so waaaay cooool", "fuck smells stupid, so way cool"),
        ("SH1T HAPPENS", "shit happens"),
        ("B1tch. N1GG3R! V4g1n4, BI7CH B17CH", "bitch. nigger! vagina, bitch bitch"),
        ("5m3ll5 l1k3 a 455h0l3.", "smells like a asshole."),
        ("SСUМ and НАТЕ", "scum and hate"),
        ("a55h0l35 and b1tch35", "assholes and bitches"),
        ("$hit a$$", "shit ass"),
        ("f\U0001f525uck st\u2764\ufe0fupid", "fuck stupid"),
        ("f*ck sh*tty B**CH m#ron", "f∗ck sh∗tty b∗∗ch m∗ron"),
        ("what a sh!t, b!tch", "what a sh∗t, b∗tch"),
        ("f*** off, n*****", "f∗∗∗ off, n∗∗∗∗∗"),
        ("you *sshole", "you ∗sshole"),
        ("f*u*c*k", "fuck"),
        ("well done \U0001f44d\U0001f3fd \u2764\ufe0f", "well done \U0001f44d \u2764"),
    ],
)
def test_disguises_are_undone(tokenizer: Tokenizer, text: str, read: str) -> None:
    assert tokenizer.normalizer.normalize_str(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "plan b i like",
        "x - y - z",
        "mp3 4th 1st 2nd b2 3d",
        "in 1999, 3.5e10 of 100 000",
        "a cool book about all bees",
        "i am a j. r. fan",
        "see e.g. page 7",
        "he said: no! yes? (ok)",
        "to rico is a u.s. territory, didn't a.j. say so",
        "u r a fool and i am not",
        "A$50k or US$5m for H1N1 and MP3s.",
        "mail user@example.com or see www.example.com",
        "KKK, World War III, Henry VIII",
        "nice\U0001f600 job \U0001f44d ok",
        "*this* is **bold**, a* of 5*3 or 2**10",
        "* item one *item two",
        "c# and f#, #1, #tag, wow! no!! what?!",
        "wow!nice evil!the NOT#FORUM talk#thanks a.html#top ok!asshole",
        "**option a** grade a** max's*** *llama* c#m int *p",
        "$50, 50$, US$ and $AAPL",
        "from 5km to 7pm, 3com, 7eleven and 4chan",
        "H5N1, B17s, A1C, M4A1, 10x10 at 1080p",
        "hmmm, awww, zzz",
        "fukuoka, shtetl, fuk's, fuk1, 1fuk, fukø",
    ],
)
def test_plain_texts_stay(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.normalizer.normalize_str(text) == text.lower()


@pytest.mark.parametrize("unit", ["a", "a1", "a ", "a.", "1", "A1", "a@", "aa ", "а", "fu ", "fuk ", "fuk'"])
def test_no_text_takes_long(tokenizer: Tokenizer, unit: str) -> None:
    text = unit * (100_000 // len(unit)) + "."
    begun = time.process_time()
    tokenizer.normalizer.normalize_str(text)
    assert time.process_time() - begun < 2, "some 0.05 s; quadratic time would be minutes"


def test_the_config_decides_whether_a_bundles_tokenizer_undoes_them(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "encoder")
    read = {}
    for chosen in (False, True):
        config = ModelConfig(encoder=str(encoder), undisguise=chosen)
        save_tokenizer(config, encoder, tmp_path / "tokenizer.json")
        tokens = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("i.d.i.o.t").tokens
        read[chosen] = "idiot" in tokens
    assert read == {False: False, True: True}


def test_a_tokenizer_that_does_not_know_the_mask_keeps_the_signs() -> None:
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    undisguise(made)
    assert made.normalizer.normalize_str("sh*t") == "sh*t"
