"""What a server that stands alone makes for itself at its first start, so that it needs nothing else.

Only where `ApiSettings.is_new` says that the state folder is empty and nothing lies elsewhere.
"""

from moderation.db import keys
from moderation.db.database import connect, migrate
from moderation.db.promotion import record_moves
from moderation.registry.opening import open_local
from moderation.registry.starter import seed
from moderation.settings import ApiSettings

FIRST_KEY = "first"
"""Name of the key that is made."""


def make(settings: ApiSettings, with_key: bool) -> str | None:
    """Make the database and a registry with the starter bundle; return an API key if there is to be one.

    The key opens the scopes predict and feedback. It is stored as a hash: nobody can read it again.
    """
    engine = connect(settings.resolved_database_url())
    migrate(engine)
    registry = open_local(settings)
    seed(registry, settings.alias)
    with engine.begin() as connection:
        record_moves(connection, registry.events(settings.alias))
        key = keys.create(connection, FIRST_KEY, ("predict", "feedback")) if with_key else None
    engine.dispose()
    return key
