"""Text normalisation: what the tokenizer sees, the same in training, evaluation and serving.

Removes what a reader cannot see and unifies what a reader cannot tell apart; texts that look
different stay different. Known limits: compatibility forms (``²``, ``①``, ``ﬁ``) are folded by NFKC,
a line break counts as a space, homoglyphs across scripts (Cyrillic ``а`` for Latin ``a``) are left
alone, and brackets under a right-to-left override are not mirrored.
"""

import re
import unicodedata
from functools import lru_cache

NORMALIZER_VERSION = "2"
"""Changes whenever `normalize` may answer differently; a bundle states the one it was trained with."""

_WHITESPACE = re.compile(r"\s+")
_ASCII_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]")
_BLANK = re.compile("[\u2800\u3164\uffa0]")  # no white space to Unicode, but a gap to a reader
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_BIDI = re.compile("([\u202a-\u202e\u2066-\u2069\n\r\u2029])")
_CLUSTER = re.compile(r"\r\n|.(?:[\u0300-\u036f\u200d\ufe0e\ufe0f]|(?<=\u200d).)*", re.DOTALL)
# Prepended_Concatenation_Mark of Unicode 15 (number and verse signs).
_VISIBLE_FORMAT = frozenset((*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD))
_JOINERS = "\u200c\u200d"
_EMOJI_PRESENTATION = "\ufe0e\ufe0f"
# Tags after a black flag spell out the flags of England, Scotland and Wales; anywhere else they are invisible.
_TAGGED = frozenset("\U0001f3f4" + "".join(map(chr, range(0xE0020, 0xE007F))))
_TAG_END = "\U000e007f"
_LONG_RUN = 32


def normalize(text: str) -> str:
    """Return ``text`` in the one form that the tokenizer reads.

    Right-to-left overrides are resolved into the order a reader sees; control and zero-width
    characters go (joiners and variation selectors stay where they shape an emoji or a script that
    needs them); NFKC; runs of whitespace become one space; lone surrogates become U+FFFD.
    Idempotent: ``normalize(normalize(t)) == normalize(t)``.
    """
    if text.isascii():
        return _WHITESPACE.sub(" ", _ASCII_CONTROL.sub("", text)).strip()
    text = _resolve_overrides(_BLANK.sub(" ", _LONE_SURROGATE.sub("\ufffd", text)))
    # NFKC can bring characters together that removal then joins, and the other way round,
    # so one pass is not idempotent; every pass shortens or settles the text.
    while (settled := _settle(text)) != text:
        text = settled
    return text


def _settle(text: str) -> str:
    return _WHITESPACE.sub(" ", _nfkc(_remove_invisible(_nfkc(text)))).strip()


def _nfkc(text: str) -> str:
    """Return NFKC in linear time: unicodedata sorts runs of marks by insertion, 64 KB of them for two seconds."""
    marks = "".join(character for character in set(text) if not character.isascii() and _is_mark(character))
    if marks:
        text = re.sub(f"[{re.escape(marks)}]{{{_LONG_RUN},}}", _in_canonical_order, text)
    return unicodedata.normalize("NFKC", text)


def _in_canonical_order(run: re.Match[str]) -> str:
    return "".join(sorted("".join(map(_decomposed, run[0])), key=unicodedata.combining))


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return all(map(unicodedata.combining, _decomposed(character)))


def _decomposed(character: str) -> str:
    return unicodedata.normalize("NFKD", character)


def _resolve_overrides(text: str) -> str:
    """Put what stands under a right-to-left override into the order a reader sees (Unicode UAX #9).

    An override inside another changes nothing, its direction is the same. Where another control stands in between
    (an embedding, an isolate), the order is left alone.
    """
    if "\u202e" not in text:
        return text
    shown: list[str] = []
    hidden: list[str] = []  # what stands under the open override
    depth = 0
    for piece in _BIDI.split(text):
        if piece == "\u202e":
            depth += 1
        elif depth and piece == "\u202c":
            depth -= 1
        elif depth and _BIDI.match(piece):
            shown += _reversed(hidden) if piece in "\n\r\u2029" else hidden
            shown.append(piece)
            hidden, depth = [], 0
        else:
            (hidden if depth else shown).append(piece)
        if not depth:
            shown += _reversed(hidden)
            hidden = []
    return "".join(shown + _reversed(hidden))


def _reversed(pieces: list[str]) -> list[str]:
    return _CLUSTER.findall("".join(pieces))[::-1]


def _remove_invisible(text: str) -> str:
    kept: list[str] = []
    for position, character in enumerate(text):
        if character in _JOINERS or character in _EMOJI_PRESENTATION:
            following = text[position + 1] if position + 1 < len(text) else ""
            if kept and _is_shaped_by(character, kept[-1], following):
                kept.append(character)
        elif character in _TAGGED or character == _TAG_END:
            if ord(character) < 0xE0000 or (kept and kept[-1] in _TAGGED):
                kept.append(character)
        elif character.isspace() or not _is_invisible(character):
            kept.append(character)
    return "".join(kept)


def _is_invisible(character: str) -> bool:
    """Return whether a character has no shape of its own (joiners aside)."""
    code = ord(character)
    if unicodedata.category(character) in ("Cc", "Cf"):
        return code not in _VISIBLE_FORMAT
    # Default-ignorable code points outside Cc and Cf: fillers, variation selectors but the emoji ones, unassigned.
    return (
        code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065)
        or 0x180B <= code <= 0x180F
        or 0xFE00 <= code <= 0xFE0D
        or 0xFFF0 <= code <= 0xFFF8
        or 0xE0000 <= code <= 0xE0FFF
    )


def _is_shaped_by(mark: str, before: str, after: str) -> bool:
    """Return whether a joiner or an emoji variation selector changes what a reader sees."""
    if mark in _EMOJI_PRESENTATION:
        return _is_pictographic(before) or before in "0123456789#*"
    if mark == "\u200d" and (_is_pictographic(before) or before in _EMOJI_PRESENTATION):
        return bool(after) and _is_pictographic(after)
    return _is_joining(before) and bool(after) and _is_joining(after)


def _is_pictographic(character: str) -> bool:
    """Return whether a character can be part of an emoji sequence."""
    return unicodedata.category(character) in ("So", "Sk", "Sm") or character in "\u203c\u2049\u3030\u303d"


def _is_joining(character: str) -> bool:
    """Return whether joiners change the shape of the character's script (Arabic, Syriac, Indic and kin)."""
    code = ord(character)
    return 0x0600 <= code <= 0x08FF or 0x0900 <= code <= 0x0DFF or 0x1780 <= code <= 0x18AF
