"""Fixtures for all tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import database_url, engine, postgres_engine, postgres_server, postgres_url, sqlite_url
from tests.skips import pytest_runtest_makereport
from tests.wandb_server import shared_wandb, wandb_server

__all__ = [
    "database_url",
    "engine",
    "postgres_engine",
    "postgres_server",
    "postgres_url",
    "pytest_runtest_makereport",
    "shared_wandb",
    "sqlite_url",
    "wandb_server",
]

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _main_module_stays() -> Iterator[None]:
    """Undo that a tested Streamlit page takes the name `__main__`: new processes would import it."""
    ours = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = ours


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bundle", type=Path, metavar="DIR", help="the bundle that tests/model judges; the starter if none"
    )
