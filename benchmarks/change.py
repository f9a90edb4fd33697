"""Whether a change makes the API faster or slower: the working tree beside another commit, in turns on one machine.

    .venv/bin/python -m benchmarks.change origin/main [--rounds 7] [--clients 8] [--count 512]

Both serve the starter model with an empty state folder and their cache off; per round each gets the same comments, one
per request, and the other one is stopped (SIGSTOP). Prints Markdown: comments per second, p99, and the ratio of each
round's pair, whose median and range count. A ratio whose range has 1 in it says nothing.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tqdm import tqdm

from benchmarks.comments import comments
from benchmarks.load import Closed, Load, in_own_process, own_processes, post
from benchmarks.processes import ROOT, Server, exit_with, free_port, inherited, started


def main() -> int:
    """Print the comparison; return the exit status."""
    arguments = _arguments()
    texts = comments(None, (arguments.rounds + 1) * arguments.count)
    parts = [texts[at : at + arguments.count] for at in range(0, len(texts), arguments.count)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-change-")))
        trees = {"this change": ROOT, arguments.base: stack.enter_context(_checkout(arguments.base, folder / "base"))}
        servers = {
            name: stack.enter_context(_server(tree, folder / f"state{number}"))
            for number, (name, tree) in enumerate(trees.items())
        }
        pool = stack.enter_context(own_processes(1))
        loads: dict[str, list[Load]] = {name: [] for name in servers}
        for number, part in enumerate(tqdm(parts, unit=" rounds", file=sys.stderr)):
            requests = [post("/predict", {"comment_text": text}) for text in part]
            turns = list(servers.items())[:: 1 if number % 2 else -1]
            for name, server in turns:
                server.resume()
                loads[name].append(in_own_process(Closed(server.port, requests, arguments.clients), pool))
                server.pause()
    _print({name: found[1:] for name, found in loads.items()})  # the first round warms up
    return 0


@contextmanager
def _checkout(commit: str, folder: Path) -> Iterator[Path]:
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


@contextmanager
def _server(tree: Path, state: Path) -> Iterator[Server]:
    port = free_port()
    own = {"STATE_DIR": str(state), "API_PORT": str(port), "CACHE_TEXTS": "0"}
    environment = inherited() | {f"MODERATION_{name}": value for name, value in own.items()}
    # The tree in which `python -m` runs is the one that is imported.
    command = ["env", "-C", tree, sys.executable, "-m", "cli", "serve"]
    with started(command, port, "/ready", state.with_suffix(".log"), environment) as server:
        server.pause()
        yield server


def _print(loads: dict[str, list[Load]]) -> None:
    failed = {name: each.statuses for name, found in loads.items() for each in found if set(each.statuses) != {200}}
    if failed:
        raise ValueError(f"not every answer has status 200: {failed}")
    print("| | comments/s | p99 (ms) |\n|---|---|---|")
    for name, found in loads.items():
        p99 = statistics.median(_p99_ms(each) for each in found)
        print(f"| {name} | {statistics.median(map(_rate, found)):.0f} | {p99:.0f} |")
    ratios = [_rate(new) / _rate(old) for new, old in zip(*loads.values(), strict=True)]
    print(
        f"\nRatio of comments/s: **{statistics.median(ratios):.2f}** "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)"
    )


def _rate(load: Load) -> float:
    return len(load.answers) / load.seconds


def _p99_ms(load: Load) -> float:
    return 1000 * statistics.quantiles([answer.seconds for answer in load.answers], n=100)[98]


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="commit to compare with, such as origin/main")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--count", type=int, default=512, help="comments per server and round")
    return parser.parse_args(given)


if __name__ == "__main__":
    exit_with(main)
