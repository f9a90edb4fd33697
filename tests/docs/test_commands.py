"""Every block of the documentation is one that tests/docs/commands.py knows how to run, or why not."""

import pytest

from tests.docs.commands import REASONS, ROOT, Block, blocks


def test_every_block_can_be_run_or_says_why_not() -> None:
    found = blocks(ROOT)
    assert len(found) > 50
    assert [f"{block.place}: {mistake}" for block in found if (mistake := block.mistake())] == []


def test_every_reason_is_used() -> None:
    used = {block.mark.removeprefix("not run: ") for block in blocks(ROOT) if block.mark.startswith("not run: ")}
    assert used == set(REASONS)


@pytest.mark.parametrize(
    ("language", "mark", "mistake"),
    [
        ("", "", "language unset; expected bash"),
        ("bash", "not run: no time", "unknown reason 'no time'; expected needs AWS"),
        ("bash", "left out", "unknown mark 'left out'"),
    ],
)
def test_a_block_that_is_not_known_is_a_mistake(language: str, mark: str, mistake: str) -> None:
    assert (Block("page.md", 1, language, "true", mark).mistake() or "").startswith(mistake)
