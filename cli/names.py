"""From what people type (an alias, a version, its beginning, a folder) to a bundle."""

from pathlib import Path

from moderation.bundle import MANIFEST, Bundle, read_bundle
from moderation.errors import NotFoundError
from moderation.labels import LABELS
from moderation.registry.registry import Registry, match_version


def find_version(registry: Registry, name: str) -> str:
    """Return the published version that an alias, a version or the beginning of one names.

    Raises:
        NotFoundError: no alias and no version matches.
    """
    aliases = registry.aliases()
    if name in aliases:
        return aliases[name]
    try:
        return match_version(name, registry.versions())
    except NotFoundError as error:
        none = f"no alias (there are: {', '.join(aliases) or 'none'}), and no folder of a bundle"
        raise NotFoundError(f"{error}, {none}") from None


def find_bundle(registry: Registry, name: str) -> Bundle:
    """Return the bundle that a folder, an alias, a version or the beginning of one names.

    Raises:
        NotFoundError: nothing matches.
        BundleError: it is corrupt or has other labels.
    """
    folder = Path(name)
    if (folder / MANIFEST).is_file():
        return read_bundle(folder, LABELS)
    version = find_version(registry, name)
    return read_bundle(registry.fetch(version), LABELS, version)
