import time
import uuid

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
