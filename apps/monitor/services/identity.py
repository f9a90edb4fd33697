"""Sign-in through an identity provider (OpenID Connect): what Streamlit needs to know of it, and whose address it says.

Streamlit reads its `[auth]` section from a file; it is written at each start from the settings, for the owner alone.
"""

import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moderation.errors import ConfigurationError, ForbiddenError
from moderation.review.access import Identity
from moderation.settings import MonitorSettings

_CALLBACK = "/oauth2callback"


def write_secrets(settings: MonitorSettings) -> Path | None:
    """Write Streamlit's secrets file, and return where it is; None if no provider is configured.

    The key of the identity cookie is new each time: whoever was signed in signs in again after a restart.

    Raises:
        ConfigurationError: part of the provider's settings is missing, or the file cannot be written.
    """
    path = settings.state_dir.resolve() / "monitor-secrets.toml"
    try:
        if not settings.signs_in_by_provider:
            path.unlink(missing_ok=True)
            return None
        content = secrets_toml(settings, secrets.token_urlsafe(32))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # one that others may read would stay so
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    return path


def secrets_toml(settings: MonitorSettings, cookie_secret: str) -> str:
    """Return the content of Streamlit's secrets file.

    Raises:
        ConfigurationError: part of the provider's settings is missing.
    """
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
    values = {
        "server_metadata_url": settings.oidc_metadata_url,
        "client_id": settings.oidc_client_id,
        "client_secret": secret,
        "redirect_uri": settings.monitor_url and settings.monitor_url.rstrip("/") + _CALLBACK,
    }
    names = ("OIDC_METADATA_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "MONITOR_URL")
    if missing := [f"MODERATION_{name}" for name, value in zip(names, values.values(), strict=True) if not value]:
        raise ConfigurationError(f"sign-in through an identity provider also needs {', '.join(missing)}")
    values["cookie_secret"] = cookie_secret
    # A JSON string is a TOML string.
    return "[auth]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def identity_of(claims: Mapping[str, Any], trusted: bool) -> Identity:
    """Return who the provider vouches for, and since when; ``trusted``: its addresses are believed unverified.

    Raises:
        ForbiddenError: there is no address, the provider does not say that it has verified it, or not when it said so.
    """
    address, at = claims.get("email"), claims.get("iat")
    if not isinstance(address, str) or not address:
        raise ForbiddenError("the identity provider gave no e-mail address; it needs the scope email")
    if not trusted and claims.get("email_verified") is not True:
        raise ForbiddenError(
            "the identity provider does not say that it has verified the e-mail address (claim email_verified); "
            "if it lets nobody choose their own, set MODERATION_OIDC_TRUST_EMAIL"
        )
    if not isinstance(at, int | float):
        raise ForbiddenError("the identity provider does not say when it issued its token (claim iat)")
    proof = json.dumps([claims.get(name) for name in ("iss", "sub", "iat", "nonce")])
    return Identity(address, proof, datetime.fromtimestamp(at, UTC))
