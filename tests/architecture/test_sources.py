"""Rules that hold for every source file."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("moderation", "cli", "train", "serve", "apps")
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def unsafe(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE_MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
                yield node.func.id
            yield from (
                f"{keyword.arg}={ast.unparse(keyword.value)}"
                for keyword in node.keywords
                if keyword.arg in ("trust_remote_code", "allow_pickle", "shell")
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            )


def test_every_init_is_empty() -> None:
    # A re-export drags heavy imports into light processes.
    filled = [path for path in ROOT.glob("*/**/__init__.py") if path.stat().st_size and ".venv" not in path.parts]
    assert filled == []


def test_every_module_says_what_it_does() -> None:
    silent = [str(path) for path, tree in sources() if path.name != "__init__.py" and not ast.get_docstring(tree)]
    assert silent == []


def test_nothing_runs_code_that_comes_as_data() -> None:
    assert {str(path): found for path, tree in sources() if (found := list(unsafe(tree)))} == {}


def test_the_time_of_day_is_asked_for_in_one_place() -> None:
    asks = [
        str(path)
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("datetime.now", "datetime.utcnow", "date.today")
    ]
    assert asks == ["moderation/clock.py"]


def test_the_check_for_unsafe_code_sees_it() -> None:
    source = "import pickle\nfrom joblib import load\neval('1')\nmodel(trust_remote_code=True)\nrun('x', shell=True)"
    assert list(unsafe(ast.parse(source))) == ["pickle", "joblib", "eval", "trust_remote_code=True", "shell=True"]
