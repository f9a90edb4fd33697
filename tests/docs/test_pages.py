"""What the documentation holds that is made from something else is as its source says."""

import re
import runpy
from pathlib import Path

from serve.shipper import LINGER_S

ROOT = Path(__file__).resolve().parents[2]


def test_the_picture_of_the_system_is_what_its_script_draws() -> None:
    drawn: str = runpy.run_path(str(ROOT / "docs/img/system.py"))["draw"]()
    assert (ROOT / "docs/img/system.svg").read_text() == drawn


def test_the_tables_of_the_plan_are_what_its_script_computes_of_what_was_measured() -> None:
    plan = runpy.run_path(str(ROOT / "docs/scale.py"))
    page, measured = (ROOT / "docs/scale.md").read_text(), (ROOT / "docs/EXPERIMENTS.md").read_text()
    assert f"\n{plan['sizes']()}\n" in page
    assert f"\n{plan['costs']()}\n" in page
    assert [stands for _, stands in plan["MEASURED"].values() if stands not in measured] == []
    assert plan["WITHOUT_AMX"][1] in measured
    lines = re.findall(r"^\| 8 \| ([\d,]+) \| ([\d,]+) \| \d+ \| ([\d,]+) \|$", measured, re.MULTILINE)
    assert [(f"{rows:,}", f"{rate:,}", f"{size:,}") for rows, (rate, size) in plan["WRITERS"].items()] == lines
    assert plan["LINGER_S"] == LINGER_S


def test_every_decision_is_listed_by_its_title() -> None:
    records = {path.name: path.read_text().partition("\n")[0] for path in (ROOT / "docs/adr").glob("0*.md")}
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (ROOT / "docs/adr/README.md").read_text(), re.MULTILINE)
    assert {name: f"# {title}" for title, name in listed} == records


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if f": {page}\n" not in navigation} == set()
