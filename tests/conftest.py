"""Fixtures for all tests."""

from tests.postgres import database_url, engine, postgres_server, postgres_url, sqlite_url

__all__ = ["database_url", "engine", "postgres_server", "postgres_url", "sqlite_url"]
