"""Runs what the documentation says to run, in a clean clone: ``python -m tests.docs.commands`` (make docs-commands).

Every fenced block of README.md, docs/ and the other pages has a language. Those in ``bash`` and ``python`` are run in
their order, page by page, each page in a folder of state of its own; in docs/ that is one with a database. A comment
before a block changes that:

    <!-- not run: REASON -->       one of REASONS
    <!-- until it answers: URL --> started, and left running for the rest of the page
    <!-- with --help -->           an overview: each line's command is asked for its help

A block without a language, or with a reason that is not known, is a mistake. What a command prints is shown in short.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docker/README.md", "docs/*.md", "docs/adr/*.md", "models/starter/README.md")
REASONS = {
    "needs AWS": "tests/aws runs the deployment against moto",
    "needs Docker": "tests/images runs these steps where Docker is",
    "needs a PostgreSQL of yours": "tests/integration and tests/images run these steps",
    "needs data that you download": "Kaggle's or another data set",
    "needs files of yours": "tests/cli scores files of its own",
    "needs an account at W&B": "tests run the same against a server of their own",
    "needs several GPUs": "tests/train runs two processes on a CPU",
    "needs packages that are not pinned together": "installs into the environment",
    "needs what earlier traffic left": "ids, versions and files of a running site",
    "asks for a password": "tests/cli types one",
    "takes minutes": "a make target or benchmark by itself",
}
NOT_COMMANDS = {"text", "json", "yaml", "html"}
BLOCK = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (.+) -->\s*\Z")
WITHIN_S = 900
READY_WITHIN_S = 120


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, its language, and what the comment before it says."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def mistake(self) -> str | None:
        """Return what is wrong with the block; None: nothing."""
        kind, _, said = self.mark.partition(": ")
        if self.language not in {"bash", "python", *NOT_COMMANDS}:
            return f"language {self.language or 'unset'}; expected bash, python, {', '.join(sorted(NOT_COMMANDS))}"
        if kind not in {"", "not run", "until it answers", "with --help"}:
            return f"unknown mark {kind!r}"
        if kind == "not run" and said not in REASONS:
            return f"unknown reason {said!r}; expected {', '.join(REASONS)}"
        return None


def blocks(root: Path) -> list[Block]:
    """Return every fenced block of the documentation under ``root``, in order."""
    found = []
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            for match in BLOCK.finditer(text):
                indent, language, body = match.groups()
                mark = MARK.search(text, 0, match.start())
                lines = "\n".join(line.removeprefix(indent) for line in body.splitlines())
                line = text.count("\n", 0, match.start()) + 1
                page = str(path.relative_to(root))
                found.append(Block(page, line, language, lines, mark[1] if mark else ""))
    return found


class Page:
    """Runs the blocks of one page; what they started ends with it."""

    def __init__(self, clone: Path, stack: ExitStack, with_database: bool) -> None:
        self._clone = clone
        self._stack = stack
        state = stack.enter_context(tempfile.TemporaryDirectory(prefix="moderation-docs-"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODERATION_", "WANDB_"))}
        path = f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}"
        self._environment = {**kept, "PATH": path, "MODERATION_STATE_DIR": state, "HF_HUB_OFFLINE": "1"}
        if with_database:
            assert self._done(["moderation", "migrate"]).returncode == 0

    def run(self, block: Block) -> str:
        """Run a block; return what to say of it.

        Raises:
            AssertionError: it failed.
        """
        kind, _, said = block.mark.partition(": ")
        if kind == "not run":
            return f"not run: {said}"
        if kind == "until it answers":
            return self._start(block.text, said)
        if kind == "with --help":
            return self._help(block.text)
        command = ["python", "-c", block.text] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = self._done(command if block.language == "python" else [*command, block.text])
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return f"ok: {' '.join(done.stdout.split())[:100]}"

    def _done(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self._clone,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def _help(self, lines: str) -> str:
        count = 0
        for line in lines.splitlines():
            words = re.match(r"moderation(?: [a-z]+\b(?![.]))*", line)
            assert words, f"not a command: {line}"
            done = self._done([*words[0].split(), "--help"])
            assert done.returncode == 0, f"{words[0]} --help: {done.stderr[-500:]}"
            count += 1
        return f"ok: {count} commands have help"

    def _start(self, command: str, url: str) -> str:
        log = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it ends with the page
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self._clone,
            env=self._environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._stack.callback(_end, process)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                direct.open(url, timeout=5).close()
            except OSError:
                log.seek(0)
                assert process.poll() is None, f"ended before {url} answered:\n{log.read().decode()[-2000:]}"
                assert time.monotonic() < deadline, f"{url} does not answer:\n{log.read().decode()[-2000:]}"
                time.sleep(0.5)
            else:
                return f"ok: runs, and answers {url}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def clean_clone() -> Iterator[Path]:
    """Yield a clone of what is committed, with an environment of its own."""
    with tempfile.TemporaryDirectory(prefix="moderation-clone-") as folder:
        clone = Path(folder) / "moderation"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        subprocess.run(["make", "install-dev"], cwd=clone, check=True)
        yield clone


def main() -> int:
    """Run them all; return how many failed."""
    parser = argparse.ArgumentParser(description="Run every documented command in a clean clone of what is committed.")
    parser.add_argument("--page", help="this page only, such as README.md")
    options = parser.parse_args()
    failed = 0
    found = [block for block in blocks(ROOT) if options.page in (None, block.page)]
    with clean_clone() as clone:
        for name in dict.fromkeys(block.page for block in found):
            with ExitStack() as stack:
                page = Page(clone, stack, with_database=name.startswith("docs/"))
                for block in (each for each in found if each.page == name and each.language not in NOT_COMMANDS):
                    try:
                        said = block.mistake() or page.run(block)
                        failed += block.mistake() is not None
                    except (AssertionError, subprocess.TimeoutExpired) as error:
                        failed, said = failed + 1, f"FAILED: {error}"
                    print(f"{block.place}: {said}", flush=True)
    print(f"{failed} of {len(found)} blocks failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
