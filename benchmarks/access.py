"""What the check of a key adds to a request: `python -m benchmarks.access`.

Times `Access.admit` and the edge's headers for a request with a key and a quota, against the same without keys, in
turn and in one process, in seconds of this thread's CPU; no HTTP, no model, no database.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.datastructures import Headers

from moderation.db.keys import Key, Keys, hash_of
from moderation.db.quotas import Lease
from moderation.settings import ApiSettings
from serve.auth import Access
from serve.keys import KeyRing
from serve.quotas import Quotas

SECRET = "ab" * 32


def with_keys(count: int, folder: Path) -> Access:
    """Return access for ``count`` keys, each with a quota that is never used up."""
    now = datetime.now(UTC)
    known = tuple(
        Key(f"{number:012x}", f"key-{number}", hash_of(SECRET), ("predict",), 10**9, now) for number in range(count)
    )
    ring = KeyRing(lambda: Keys(now, known), lambda _: None, folder / "keys.json", 86_400)
    ring.refresh()
    quotas = Quotas(lambda _, quota, wanted: Lease(now, wanted, quota, 60.0))
    return Access(ApiSettings(), ring, quotas)


async def seconds(access: Access, headers: list[tuple[bytes, bytes]], requests: int) -> float:
    """Return how long ``requests`` checks take, with their charge and their headers."""
    scope = {"type": "http", "path": "/predict", "scheme": "http", "server": ("127.0.0.1", 8000), "headers": headers}
    begun = time.thread_time()
    for _ in range(requests):
        caller = await access.admit(scope, Headers(scope=scope))
        caller.check_scope("/predict")
        await caller.charge(1)
        caller.settle(200)
    return time.thread_time() - begun


async def run(requests: int, rounds: int, keys: int) -> None:
    """Print the median over rounds that take turns."""
    host = (b"host", b"127.0.0.1:8000")
    token = f"Bearer mod_{keys - 1:012x}_{SECRET}".encode()
    with tempfile.TemporaryDirectory() as folder:
        keyed, plain = with_keys(keys, Path(folder)), Access(ApiSettings())
        found: dict[str, list[float]] = {"without keys": [], "with a key and a quota": []}
        for _ in range(rounds):
            found["without keys"].append(await seconds(plain, [host], requests))
            found["with a key and a quota"].append(await seconds(keyed, [host, (b"authorization", token)], requests))
        keyed.close()
    for name, times in found.items():
        micro = [1e6 * each / requests for each in times]
        print(f"{name:24} {statistics.median(micro):6.2f} µs per request (fastest round {min(micro):.2f})")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="per round (default 20000)")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--keys", type=int, default=10_000, help="keys that the server knows (default 10000)")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.requests, arguments.rounds, arguments.keys))


if __name__ == "__main__":
    main()
