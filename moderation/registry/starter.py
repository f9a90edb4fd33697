"""Gives an empty registry the bundle that comes with the repository."""

from pathlib import Path

from moderation.errors import NotFoundError
from moderation.registry.registry import Move, Registry

STARTER_DIR = Path(__file__).resolve().parents[2] / "models" / "starter"


def seed(registry: Registry, alias: str, directory: Path = STARTER_DIR) -> str:
    """Point ``alias`` to the bundle in ``directory`` unless it exists; return the version it points to."""
    try:
        return registry.resolve(alias)
    except NotFoundError:
        version = registry.publish(directory)
        registry.point(alias, version, Move(by="seed", reason="first start: the bundle of the repository"))
        return version
