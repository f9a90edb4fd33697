"""Callers of one API, run in a container beside it: asks until nobody answers any more, and prints what came of it.

Of each request: when it was sent and when it ended (time.time, s) and its status, or the type of the error; and all
ids answered.
"""

import json
import sys
import threading
import time

import httpx

url, key, callers = sys.argv[1], sys.argv[2], int(sys.argv[3])
asked: list[tuple[float, float, int | str]] = []
ids: list[str] = []


def ask(number: int) -> None:
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60, trust_env=False) as http:
        for turn in range(1_000_000):
            texts = [f"caller {number}, comment {turn} {part}" for part in range(10)]
            sent_at = time.time()
            try:
                answer = http.post("/predict/batch", json={"comment_texts": texts})
            except httpx.HTTPError as error:
                asked.append((sent_at, time.time(), type(error).__name__))
                return
            asked.append((sent_at, time.time(), answer.status_code))
            if answer.status_code != 200:
                return
            ids.extend(each["id"] for each in answer.json()["predictions"])


threads = [threading.Thread(target=ask, args=(number,)) for number in range(callers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"asked": asked, "ids": ids}))
