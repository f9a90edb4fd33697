"""In which language a text is, as a BCP 47 tag: cheap enough for every comment, and never an error.

Compact Language Detector 2 decides where it is sure: ``es``, ``zh-Hant``. Where it is not (a few letters, nothing but
emoji, a platform without a wheel of it), the tag says the script of most letters: ``und-Latn``, or ``und-Zyyy`` without
any. A language of its own is no more than a guess for a few words; docs/adr/0016 holds how often it is right.
"""

import unicodedata
from collections import Counter
from functools import lru_cache

try:
    import pycld2
except ImportError:  # no wheel for Linux on ARM, and no compiler in a small image
    pycld2 = None

MAX_CHARACTERS = 1_000
"""What follows is not looked at: a long text has decided by then."""
UNDETERMINED = "und"
_SCRIPTS = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "CJK": "Hani",
    "HIRAGANA": "Jpan", "KATAKANA": "Jpan", "HANGUL": "Kore", "THAI": "Thai", "DEVANAGARI": "Deva", "BENGALI": "Beng",
    "TAMIL": "Taml", "TELUGU": "Telu", "GEORGIAN": "Geor", "ARMENIAN": "Armn", "ETHIOPIC": "Ethi", "KHMER": "Khmr",
}  # fmt: skip
_NO_LETTERS, _ANOTHER = "Zyyy", "Zzzz"
NO_SCRIPT = frozenset({f"{UNDETERMINED}-{_NO_LETTERS}", f"{UNDETERMINED}-{_ANOTHER}"})
"""Tags that say neither language nor script."""


def language_tag(normalized_text: str) -> str:
    """Return the tag of a text that `moderation.text.normalize` has returned."""
    text = normalized_text[:MAX_CHARACTERS]
    return _language(text) or f"{UNDETERMINED}-{script(text)}"


def script(text: str) -> str:
    """Return the ISO 15924 code of the script that most letters are in, of scripts that are common on the web."""
    if text.isascii():
        return _SCRIPTS["LATIN"] if any(map(str.isalpha, text)) else _NO_LETTERS
    found = Counter[str]()
    for character, count in Counter(text).items():
        if character.isalpha():
            found[_script(character)] += count
    return found.most_common(1)[0][0] if found else _NO_LETTERS


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    # Python has no property of scripts; the first word of a letter's name says it.
    return _SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0], _ANOTHER)


def _language(text: str) -> str | None:
    if pycld2 is None:
        return None
    try:
        reliable, _, (first, *_) = pycld2.detect(text, isPlainText=True)
    except pycld2.error:  # it refuses noncharacters such as U+FFFF
        return None
    tag = str(first[1])
    if not reliable or tag == "un":
        return None
    return tag.replace("xx-", f"{UNDETERMINED}-")  # its name for a script that no language of its own is known for
