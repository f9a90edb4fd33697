import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest

def test_without_something():
    pytest.skip("no such program")

@pytest.mark.skipif(True, reason="not on this platform")
def test_elsewhere():
    pass

@pytest.mark.xfail(raises=ZeroDivisionError)
def test_known():
    1 / 0
"""


@pytest.mark.parametrize(("ci", "summary"), [("", "2 skipped, 1 xfailed"), ("true", "1 failed, 1 xfailed, 1 error")])
def test_what_is_missing_fails_in_ci_only(ci: str, summary: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SKIPS)
    options = ("-p", "tests.skips", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert summary in done.stdout
    assert not ci or "no such program; in CI nothing may be missing" in done.stdout
