"""Every setting stands in the README's table, with its default."""

import re
from pathlib import Path

from moderation.settings import PREFIX, PROCESS_SETTINGS, TEST_VARIABLES, secret_variables

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(rf"^\| `({PREFIX}[A-Z_]+)` \| (.*?) \| (.+) \|$", re.MULTILINE)


def documented() -> dict[str, str]:
    """Return each variable of the README's table with its default, as it is written there."""
    return {name: default.strip().strip("`") for name, default, _ in ROW.findall((ROOT / "README.md").read_text())}


def defaults() -> dict[str, str]:
    """Return each variable that a process or the tests read, with its default; ``unset`` for none."""
    settings = {
        f"{PREFIX}{name.upper()}": "unset" if field.default is None else str(field.default).removeprefix(f"{ROOT}/")
        for kind in PROCESS_SETTINGS
        for name, field in kind.model_fields.items()
    }
    files = {f"{name}_FILE": "unset" for kind in PROCESS_SETTINGS for name in secret_variables(kind)}
    return {**settings, **files, **dict.fromkeys(TEST_VARIABLES, "unset")}


def test_the_table_names_every_setting_with_its_default() -> None:
    assert documented() == defaults()
