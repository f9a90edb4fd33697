"""A server that asks for keys."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from moderation.db import keys
from moderation.db.quotas import lease
from moderation.settings import ApiSettings
from serve.auth import Access
from serve.keys import KeyRing
from serve.model import Model
from serve.quotas import Quotas
from tests.serve.server import Server, served


def make(engine: Engine, name: str, *scopes: str, **values: object) -> str:
    with engine.begin() as connection:
        return keys.create(connection, name, scopes or ("predict",), **values)  # type: ignore[arg-type]


def access(settings: ApiSettings, engine: Engine) -> Access:
    read, note_use = functools.partial(keys.read, engine), functools.partial(keys.note_use, engine)
    ring = KeyRing(read, note_use, settings.state_dir / "keys.json", settings.keys_max_age_s)
    ring.refresh()
    return Access(settings, ring, Quotas(functools.partial(lease, engine), settings.replicas))


@contextmanager
def served_with_keys(settings: ApiSettings, model: Model, **options: Any) -> Iterator[Server]:
    with served(settings, model, access=functools.partial(access, settings), **options) as server:
        yield server


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
