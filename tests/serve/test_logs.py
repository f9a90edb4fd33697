import json
import logging
import os
import subprocess
import sys
import time

from serve.logs import GatheringHandler, JsonFormatter, describe

SECRET = "the comment itself"


def line_of(message: str, *args: object, **extra: object) -> str:
    record = logging.getLogger("serve.test").makeRecord(
        "serve.test", logging.ERROR, __file__, 1, message, args, sys.exc_info(), extra=extra
    )
    return JsonFormatter().format(record)


def test_a_record_is_one_json_line_with_its_fields() -> None:
    line = line_of("request %d", 7, fields={"status": 200})
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["event"] == "request 7"
    assert fields["status"] == 200
    assert fields["level"] == "ERROR"
    assert fields["time"].endswith("+00:00")


def test_an_exception_is_told_by_type_and_place_only() -> None:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise RuntimeError(f"while scoring {SECRET}") from error
    except RuntimeError:
        line = line_of("failed")
    assert SECRET not in line
    told = json.loads(line)["error"]
    assert told.startswith("RuntimeError at ")
    assert "ValueError at " in told
    assert "test_logs.py" in told


def test_lines_below_the_first_are_dropped() -> None:
    assert SECRET not in line_of(f"Task exception was never retrieved\nfuture: ValueError({SECRET!r})")


def test_an_exception_that_was_never_raised_can_be_told() -> None:
    assert describe(KeyError(SECRET)) == "KeyError"


def test_lines_come_together_but_none_is_late_or_lost() -> None:
    reading, writing = os.pipe()
    handler = GatheringHandler(writing)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("serve.test.gathering")
    logger.propagate, logger.level = False, logging.INFO
    logger.addHandler(handler)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        started = time.monotonic()
        logger.info("first")
        assert json.loads(pipe.readline())["event"] == "first"
        assert time.monotonic() - started < 5
        logger.info("second")
        logger.error("third")
        assert [json.loads(pipe.readline())["event"] for _ in range(2)] == ["second", "third"]
        logger.info("last")
        handler.flush()
        os.close(writing)
        assert json.loads(pipe.read())["event"] == "last"


def test_lines_are_written_when_the_process_ends() -> None:
    program = "import logging; from serve import logs; logs.configure(); logging.getLogger('serve').info('done')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert json.loads(ended.stderr)["event"] == "done"
