"""The registry that the settings name."""

from moderation.registry.cache import BundleCache
from moderation.registry.local import LocalRegistry
from moderation.registry.wandb import WandbRegistry
from moderation.settings import RegistrySettings


def open_registry(settings: RegistrySettings) -> LocalRegistry | WandbRegistry:
    """Return the registry of ``settings.registry``; nothing is read or connected to yet."""
    return open_wandb(settings) if settings.registry == "wandb" else open_local(settings)


def open_local(settings: RegistrySettings) -> LocalRegistry:
    """Return the local registry, whichever is in use."""
    return LocalRegistry(settings.resolved_registry_dir())


def open_wandb(settings: RegistrySettings) -> WandbRegistry:
    """Return the registry on W&B, whichever is in use; fetched bundles are cached in the state folder."""
    return WandbRegistry(
        settings.wandb_collection,
        BundleCache(settings.state_dir / "wandb"),
        settings.wandb_query_s,
        settings.wandb_transfer_s,
    )
