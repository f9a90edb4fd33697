"""The `moderation` command: its subcommands, and what becomes of their errors.

An expected error is one line on stderr and exit code 1, a wrong call one line and exit code 2; a
traceback is a bug. Commands import what they need when they run, so that ``--help`` is quick.
"""

import os
import sys
from typing import Annotated

import typer

from cli import (
    compare,
    export,
    gate,
    keys,
    lineage,
    maintenance,
    migrate_check,
    promote,
    registry,
    rescore,
    reviewers,
    reviews,
    roles,
    score,
    up,
    worker,
)
from moderation.errors import ModerationError
from moderation.release import VERSION

OURS = ("apps", "cli", "moderation", "serve", "train", "")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"moderation {VERSION}")
        raise typer.Exit


app = typer.Typer(
    epilog="Settings are MODERATION_ environment variables; README.md lists them.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print it.")] = False,
) -> None:
    """Multi-label comment moderation, from the command line."""


app.command("up")(up.up)
app.command("migrate")(maintenance.migrate)
app.command("maintain")(maintenance.maintain)
app.command("retention")(maintenance.retention)
app.command("erase")(maintenance.erase)
app.command("roles")(roles.roles)
app.command("score")(score.score)
app.command("rescore", short_help="Score a file as a version served it.")(rescore.rescore)
app.command("migrate-check", short_help="What changes for a site that leaves Perspective.")(migrate_check.migrate_check)
app.command("gate")(gate.gate)
app.command("promote", short_help="Make a candidate the served version, if it passed.")(promote.promote)
app.command("rollback")(promote.rollback)
app.command("compare")(compare.compare)
app.command("lineage")(lineage.lineage)
app.command("worker")(worker.worker)
app.add_typer(export.app, name="export")
app.add_typer(registry.app, name="registry")
app.add_typer(keys.app, name="keys")
app.add_typer(reviewers.app, name="reviewers")
app.add_typer(reviews.app, name="reviews")


@app.command()
def serve() -> None:
    """Serve the API until it is stopped.

    Where the state folder is empty or not there, and neither database nor registry is named elsewhere, it makes them,
    with the starter bundle, and prints an API key if callers need one. Else it needs a migrated database, and the alias
    to serve in the registry.
    """
    from moderation.settings import ApiSettings, load
    from serve.process import run

    run(load(ApiSettings))


def main() -> None:
    """Run the command and exit."""
    try:
        # Without its own error handling, typer returns the exit code or raises.
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="moderation", standalone_mode=False))
    except ModerationError as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in OURS:
            raise
        _fail(f"{missing} is not installed: run `make install`, to train `make install-train` too", 1)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "moderation"
        said = error.format_message()
        _fail(f"{said}{'' if said.endswith(('.', '?', '!')) else '.'} See `{command} --help`.", error.exit_code)
    except OSError as error:  # a full disk behind `>`, above all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else what is left of it fails again at exit
        _fail(f"{error.strerror or error}: {error.filename or 'standard output'}", 1)


def _fail(message: str, exit_code: int) -> None:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(exit_code)
