import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from serve.ids import is_uuid7, uuid7


def test_an_id_is_a_uuid_of_version_7_and_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(uuid7())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_differ_and_are_recognised() -> None:
    ids = {uuid7() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(map(is_uuid7, ids))


def test_nothing_else_is_recognised() -> None:
    made = uuid7()
    for other in (made.upper(), made + "\n", made[:-1], made.replace("-", ""), str(uuid.uuid4()), "", "\x00" * 36):
        assert not is_uuid7(other)


def test_threads_and_a_forked_child_are_given_different_ids() -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = [made for several in pool.map(lambda _: [uuid7() for _ in range(1_000)], range(8)) for made in several]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "".join(uuid7() for _ in range(300)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        given = pipe.read()
    os.waitpid(child, 0)
    random_parts = [made[-12:] for made in ids + [uuid7() for _ in range(300)]]
    random_parts += [given[start + 24 : start + 36] for start in range(0, len(given), 36)]
    assert len(given) == 300 * 36
    assert len(set(random_parts)) == 8_000 + 300 + 300
