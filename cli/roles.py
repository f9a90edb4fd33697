"""`moderation roles`: one PostgreSQL role per process, and an account for each."""

from pathlib import Path
from typing import Annotated

import typer

from moderation.errors import ConfigurationError, InvalidInputError


def roles(
    apply: Annotated[bool, typer.Option("--apply", help="Run the SQL on the database instead of printing it.")] = False,
    account: Annotated[
        list[str] | None,
        typer.Option(
            help="With --apply: api, monitor or tools, and the file with that process's database URL, whose account"
            " and password are made; can be repeated.",
            metavar="ROLE=FILE",
        ),
    ] = None,
) -> None:
    """Print SQL: one PostgreSQL role per process.

    For the owner of the tables: `moderation roles | psql`. Run it again after each migration.
    With --apply it is run, and accounts are made in the roles.
    """
    from moderation.db.roles import statements

    if account and not apply:
        raise typer.BadParameter("--account needs --apply")
    if apply:
        _apply(account or [])
        return
    for statement in statements():
        typer.echo(f"{statement};")


def _apply(accounts: list[str]) -> None:
    from moderation.db.database import connect, describe, require_current
    from moderation.db.roles import ROLES, make_account, statements
    from moderation.settings import DatabaseSettings, load

    url = load(DatabaseSettings).resolved_database_url()
    wanted = [(role, *_login(role, path)) for role, _, path in (each.partition("=") for each in accounts)]
    engine = connect(url)
    if engine.dialect.name != "postgresql":
        raise ConfigurationError(f"{describe(url)} has no roles; expected a PostgreSQL database")
    require_current(engine)
    with engine.begin() as connection:
        for statement in statements():
            connection.exec_driver_sql(statement.replace("%", "%%"))
        for role, name, password in wanted:
            make_account(connection, role, name, password)
    engine.dispose()
    typer.echo(f"{describe(url)} has the roles {', '.join(ROLES)} and {len(wanted)} accounts in them")


def _login(role: str, path: str) -> tuple[str, str]:
    """Return name and password of the URL in the file."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from moderation.settings import read_secret

    try:
        url = make_url(read_secret(Path(path), f"--account {role}"))
    except (ArgumentError, ValueError):
        url = None
    if url is None or not url.username or not url.password:  # never repeated
        raise InvalidInputError(f"--account {role}: {path} holds no URL with user and password")
    return url.username, url.password
