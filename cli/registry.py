"""`moderation registry`: publish, find and name bundles."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from moderation.registry.registry import Registry

app = typer.Typer(
    help="Publish, find and name bundles.",
    epilog="The registry is MODERATION_REGISTRY_DIR, or `registry` in the state folder; with "
    "MODERATION_REGISTRY=wandb, the collection MODERATION_WANDB_COLLECTION.",
    rich_markup_mode=None,
)
SERVED = "production"
"""What servers follow unless told otherwise: guarded whatever MODERATION_ALIAS says here."""
Alias = Annotated[str, typer.Argument(help="Name that points to a version, such as production.")]
Version = Annotated[str, typer.Argument(help="A bundle's content address, or its first 8 or more digits.")]


def open_registry() -> "Registry":
    """Return the registry that the settings name."""
    from moderation.registry.opening import open_registry
    from moderation.settings import RegistrySettings, load

    return open_registry(load(RegistrySettings))


@app.command()
def push(
    bundle: Annotated[
        str | None, typer.Argument(help="A version or alias of the local registry, or a folder.", metavar="[BUNDLE]")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a training run: its metrics, dataset and bundle are uploaded.")
    ] = None,
) -> None:
    """Upload a bundle or a run to W&B, and verify it there.

    Whichever registry is in use. What is there already is verified only. Say who may read it with `WANDB_ENTITY` and
    `WANDB_PROJECT`.
    """
    from moderation.registry.opening import open_local, open_wandb
    from moderation.run_folder import RunFolder
    from moderation.settings import RegistrySettings, load

    if (bundle is None) == (run is None):
        raise typer.BadParameter("give a bundle or --run, one of them.")
    settings = load(RegistrySettings)
    target = open_wandb(settings)
    try:
        if run is not None:
            typer.echo(f"uploaded and verified: {RunFolder(run).upload(target)['url']}")
        elif bundle is not None:
            directory = _local_bundle(open_local(settings), bundle)
            typer.echo(f"uploaded and verified: {settings.wandb_collection} {target.publish(directory)}")
    finally:
        target.close()


@app.command("list")
def list_versions() -> None:
    """Print every version with its aliases, oldest first."""
    registry = open_registry()
    aliases = registry.aliases()
    if not registry.versions():
        typer.echo("The registry is empty; `moderation registry seed` adds the starter bundle.", err=True)
    for version in registry.versions():
        names = [alias for alias, target in aliases.items() if target == version]
        typer.echo("  ".join([version, ", ".join(names)]).rstrip())


@app.command()
def publish(directory: Annotated[Path, typer.Argument(help="Folder of a bundle.", metavar="BUNDLE_DIR")]) -> None:
    """Verify a bundle, keep a copy, and print its version."""
    typer.echo(open_registry().publish(directory))


@app.command()
def resolve(alias: Alias) -> None:
    """Print the version that an alias points to."""
    typer.echo(open_registry().resolve(alias))


@app.command()
def fetch(version: Version) -> None:
    """Print the local folder that holds a version."""
    typer.echo(open_registry().fetch(version))


@app.command()
def point(
    alias: Alias,
    version: Version,
    reason: Annotated[str, typer.Option(help="Kept with the move.")] = "by hand",
) -> None:
    """Make an alias point to a published version.

    Not the alias that the API serves: `moderation promote` moves that one, past the gate.
    """
    from moderation.registry.registry import Move
    from moderation.settings import RegistrySettings, load

    if alias in (load(RegistrySettings).alias, SERVED):
        raise InvalidInputError(
            f"{alias!r} is what the API serves: run `moderation promote {version}`, with --override REASON to pass the "
            "gate by"
        )
    event = open_registry().point(alias, version, Move(by=getpass.getuser(), reason=reason))
    typer.echo(f"{alias} -> {event.version}")


def _local_bundle(registry: "Registry", bundle: str) -> Path:
    if Path(bundle).is_dir():
        return Path(bundle)
    return registry.fetch(registry.aliases().get(bundle, bundle))


@app.command()
def seed(
    alias: Annotated[str, typer.Argument(help="Alias to make.")] = "production",
) -> None:
    """Point an alias to the starter bundle, unless it exists."""
    from moderation.registry.starter import seed

    typer.echo(f"{alias} -> {seed(open_registry(), alias)}")
