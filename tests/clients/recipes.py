"""The programs that stand in docs/recipes, by page and language."""

import re
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes"
BASE, KEY = "https://moderation.example.org", "YOUR_KEY"
"""What stands in them for a server and a key."""


def blocks(page: str, language: str) -> list[str]:
    """Return the page's code in ``language``, in order; at least one."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (RECIPES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"docs/recipes/{page}.md has no code in {language}"
    return [str(block) for block in found]
