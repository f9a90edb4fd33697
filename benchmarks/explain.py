"""What `"explain": true` costs a caller: `python -m benchmarks.explain`.

One client asks the API for a comment's scores, then for another's of as many words with its explanation, in turns; the
comments are made, none is asked for twice, there is no cache. An explanation scores each word left out and each alone.
"""

import argparse
import itertools
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comments import VOCABULARY
from benchmarks.load import Closed, post, run
from benchmarks.processes import ROOT, StartError, api, exit_with

WORDS = (5, 20, 50, 200)
WARM_UP = 3


def main() -> int:
    """Print medians in ms and their ratio per number of words."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "starter")
    parser.add_argument("--count", type=int, default=20, help="comments of each kind and length (default %(default)s)")
    parser.add_argument("--words", type=int, nargs="+", default=WORDS, help="lengths (default %(default)s)")
    given = parser.parse_args()
    print("| words | scores, ms | with explanation, ms | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, api(given.bundle, Path(folder), cache_texts=0) as server:
        for words in given.words:
            plain, explained = (statistics.median(times) for times in _asked(server.port, words, given.count))
            print(f"| {words} | {plain:.1f} | {explained:.1f} | {explained / plain:.1f} |", flush=True)
    return 0


def _asked(port: int, words: int, count: int) -> tuple[Sequence[float], Sequence[float]]:
    """Return the milliseconds of each request without and with an explanation.

    Raises:
        StartError: a request was not answered.
    """
    generator = random.Random(words)
    requests = [
        post("/predict", {"comment_text": _comment(words, generator), "explain": explain})
        for _, explain in itertools.product(range(count + WARM_UP), (False, True))
    ]
    load = run(Closed(port, requests, clients=1))
    if set(load.statuses) != {200}:
        raise StartError(f"answers by status {load.statuses}; expected 200 alone")
    times = [1000 * answer.seconds for answer in load.answers[2 * WARM_UP :]]
    return times[::2], times[1::2]


def _comment(words: int, generator: random.Random) -> str:
    return " ".join(generator.choices(VOCABULARY.split(), k=words))


if __name__ == "__main__":
    exit_with(main)
