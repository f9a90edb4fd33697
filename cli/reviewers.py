"""`moderation reviewers`: who may review."""

import getpass
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.keys import moment, open_database, print_table
from moderation import clock
from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from moderation.review.accounts import Account

app = typer.Typer(
    help="Add, list and disable those who review.",
    epilog="They are in the database, MODERATION_DATABASE_URL or a SQLite file in the state folder.",
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="Reviews and the audit log know the reviewer by it; never given out again.")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with the password, where nobody can be asked for it.")]


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, reviewer or admin; each may do what those before it may.")],
    email: Annotated[
        str | None, typer.Option(help="Address that an identity provider vouches for; then no password is asked for.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Days from now, or a date such as 2027-01-31 (UTC).", metavar="DAYS|DATE")
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Add a reviewer.

    The password is asked for, or read from a file or stdin: it never stands in an argument, where others could see it.
    """
    from moderation.review import accounts

    if email is not None and password_file is not None:
        raise typer.BadParameter("--email needs no --password-file: an identity provider signs that person in")
    accounts.check_name(name)
    until = moment(expires)
    with open_database() as engine:
        password = None if email is not None else _password(password_file)
        accounts.add(engine, (name, role), clock.now(), operator(), email, password, until)
    typer.echo(f"{name} is added, as {role}")


@app.command("list")
def list_reviewers() -> None:
    """Print every reviewer, oldest first."""
    from moderation.review import accounts

    with open_database() as engine:
        found = accounts.accounts(engine)
    if not found:
        typer.echo("No reviewers; `moderation reviewers add NAME --role reviewer` adds one.", err=True)
        return
    now = clock.now()
    print_table(("NAME", "STATE", "ROLE", "SIGNS IN BY", "CREATED", "EXPIRES"), [_row(each, now) for each in found])


@app.command()
def disable(name: Name) -> None:
    """Disable a reviewer for good, also in mid-session."""
    from moderation.review import accounts

    with open_database() as engine:
        accounts.disable(engine, name, clock.now(), operator())
    typer.echo(f"{name} is disabled")


@app.command()
def password(name: Name, password_file: PasswordFile = None) -> None:
    """Give a reviewer another password, asked for or read from a file or stdin; open sessions end."""
    from moderation.review import accounts

    accounts.check_name(name)
    with open_database() as engine:
        accounts.set_password(engine, name, _password(password_file), clock.now(), operator())
    typer.echo(f"{name} has another password")


def operator() -> str:
    """Return how the audit log names whoever runs this command."""
    return f"cli:{getpass.getuser()}"


def _password(file: Path | None) -> str:
    from moderation.settings import read_secret

    if file is not None:
        return read_secret(file, "--password-file")
    if not sys.stdin.isatty():
        if not (line := sys.stdin.readline().rstrip("\r\n")):
            raise InvalidInputError("no password on stdin")
        return line
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise InvalidInputError("the two are not the same; nothing was changed")
    return first


def _row(account: "Account", now: datetime) -> tuple[str, ...]:
    state = "valid" if account.holds(now) else "disabled" if account.disabled_at else "expired"
    ways = [way for way, there in (("password", account.has_password), (account.email or "", account.email)) if there]
    times = (account.created_at, account.expires_at)
    shown = ("-" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times)
    return (account.name, state, account.role, ", ".join(ways) or "-", *shown)
