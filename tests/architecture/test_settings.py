"""Every setting stands in the README's tables, with its default; so do the variables of others that are read."""

import re
from pathlib import Path

from moderation.settings import PREFIX, PROCESS_SETTINGS, TEST_VARIABLES, secret_variables

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(rf"^\| `({PREFIX}[A-Z_]+)` \| (.*?) \| (.+) \|$", re.MULTILINE)

OTHER_ROW = re.compile(r"^\| `((?!MODERATION_)[A-Z][A-Z_0-9]+)` \|", re.MULTILINE)
# The build's own, and what Python and the shell read in any container.
OF_THE_IMAGE = {"PATH", "HOME", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "MPLCONFIGDIR"}
# Set by W&B's SDK or for it, never by an operator.
OF_THE_SDK = {"WANDB_SERVICE", "WANDB_LOG_MODEL", "WANDB_SILENT", "WANDB_CONSOLE", "WANDB_ERROR_REPORTING"} | {
    "WANDB__GRAPHQL_RETRY_MAX"
}


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


def of_images() -> set[str]:
    """Return what the Dockerfile sets for running processes."""
    stages = (ROOT / "docker/Dockerfile").read_text().partition(" AS runtime\n")[2]
    instructions = re.findall(r"^ENV ((?:.+\\\n)*.+)$", stages, re.MULTILINE)
    return {name for each in instructions for name in re.findall(r"\b([A-Z_]+)=", each)} - OF_THE_IMAGE


def of_compose() -> set[str]:
    """Return what compose.yaml takes from its environment, and what it sets for processes."""
    text = "".join(path.read_text() for path in sorted((ROOT / "docker").glob("compose*.yaml")))
    own = re.findall(r"^([A-Z_]+)=", (ROOT / "docker/.env").read_text(), re.MULTILINE)
    return {*re.findall(r"\$\{?([A-Z_]+)", text), *own, *re.findall(r"\b(STREAMLIT_[A-Z_]+):", text)}


def of_wandb() -> set[str]:
    """Return what our code reads of W&B's variables."""
    sources = [path.read_text() for name in ("moderation", "train") for path in (ROOT / name).rglob("*.py")]
    found = {name for text in sources for name in re.findall(r"[\"'](WANDB_[A-Z_]+)[\"']", text)}
    return (found | {"WANDB_API_KEY_FILE"}) - OF_THE_SDK


def test_variables_of_others_are_documented_too() -> None:
    read = {name for name in of_images() | of_compose() | of_wandb() if not name.startswith(PREFIX)}
    assert set(OTHER_ROW.findall((ROOT / "README.md").read_text())) == read
