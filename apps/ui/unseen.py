"""Characters of a text that nobody sees, by name. Knows no Streamlit."""

import re
import unicodedata

# Controls but tab and line break; marks of direction; joiners that part words; byte order mark; separators that no
# browser draws; letters without a shape; annotations; tags, with which whole hidden sentences can be written.
_UNSEEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f])"
)


def seen(text: str) -> list[tuple[str, str | None]]:
    """Return ``text`` in parts: what can be seen with None, and each unseen control character with its name."""
    parts = [part for part in _UNSEEN.split(text) if part]
    return [(part, _name(part) if _UNSEEN.fullmatch(part) else None) for part in parts]


def _name(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character').lower()}"
