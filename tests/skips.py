"""Where ``CI`` is set, a test that would be skipped fails: there, what is missing is a mistake, no circumstance."""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        where, line, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"{where}:{line}: {reason}; in CI nothing may be missing"
    return report
