"""Fixtures for all tests."""

from hypothesis import HealthCheck, settings

from tests.postgres import database_url, engine, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "engine", "postgres_server", "postgres_url", "sqlite_url"]

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
