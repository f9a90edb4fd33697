"""Who may ask for what: hosts, origins, API keys and their scopes, decided by a request's path before any route runs.

Without keys only this machine may ask: a web page elsewhere could otherwise reach a server on loopback through its
reader's browser (by its origin, or by a name that is made to resolve to loopback). A key says by itself who asks, so
with keys any origin may, and CORS only decides whose pages may read the answer.
"""

import re
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import Scope as HttpScope

from moderation.db.keys import ANONYMOUS, SCOPES, Key, Scope
from moderation.errors import ForbiddenError, NotFoundError, UnauthorizedError, UnavailableError
from moderation.settings import ApiSettings
from serve.compat.paths import ANALYZE, MODERATIONS, SUGGEST, dialect_of
from serve.keys import KeyRing
from serve.quotas import Quotas

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEALTH = frozenset({"/health", "/ready"})
"""Answered whatever the caller calls this server: load balancers use its address."""
OPEN = HEALTH | {"/", "/docs", "/openapi.json", "/static", "/static-offline-docs", "/$discovery", "/batch"}
"""Answered without a key, with all that is below them; of a batch, each part shows its own."""
PRIVATE = frozenset({"/metrics", "/admin"})
"""Where there is a private port, answered only there."""
ON_PRIVATE_PORT = PRIVATE | HEALTH | {"/version"}
"""All that the private port answers."""
NEEDED: dict[str, tuple[Scope, ...]] = {
    "/predict": ("predict",),
    "/feedback": ("feedback",),
    "/metrics": ("admin",),
    "/admin": ("admin",),
    "/version": SCOPES,
    ANALYZE: ("predict",),
    SUGGEST: ("feedback",),
    MODERATIONS: ("predict",),
}
"""Which scopes open a path, or all below its first part, any one of them; every other path takes any key."""
REFUSED = "this needs an API key that is known and holds; send it as Authorization: Bearer KEY or as X-API-Key: KEY"
"""One message for none, unknown, revoked and expired keys. How long it takes may differ: an unknown key can make the
server look for it in the database."""
RATE_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_LIMIT, _REMAINING, _RESET = (name.lower().encode() for name in RATE_HEADERS)

_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class Caller:
    """Who asks, and what that costs them."""

    def __init__(self, key: Key | None = None, quotas: Quotas | None = None, known: bool = True) -> None:
        """Stand for the owner of ``key``, whose quota is kept in ``quotas``; without a key, for anyone.

        ``known`` is False for who should have shown a key to learn more.
        """
        self.name = ANONYMOUS if key is None else key.name
        self._scopes = SCOPES if key is None else key.scopes
        self._key_id = "" if key is None else key.id
        self._quota = None if key is None else key.quota_per_minute
        self._quotas = quotas
        self._charged: list[tuple[int, int]] = []
        self.known = known
        self.is_operator = known and "admin" in self._scopes

    def check_scope(self, path: str) -> None:
        """Raise ForbiddenError if the caller's key does not open ``path``."""
        scopes = needed(path)
        if not any(scope in self._scopes for scope in scopes):
            raise ForbiddenError(f"this key lacks the scope {' or '.join(scopes)}")

    def require_left(self) -> None:
        """Raise OverQuotaError if, as far as this server knows, nothing is left of the quota of this minute."""
        if self._quota is not None and self._quotas is not None:
            self._quotas.require_left(self._key_id, self._quota)

    async def charge(self, texts: int) -> None:
        """Charge ``texts`` comments to the caller's quota.

        Raises:
            OverQuotaError: there is not so much left this minute.
            BeyondQuotaError: there is not so much in any minute.
        """
        if self._quota is not None and self._quotas is not None:
            minute = await self._quotas.take(self._key_id, self._quota, texts)
            self._charged.append((texts, minute))

    def settle(self, status: int) -> list[tuple[bytes, bytes]]:
        """Return the headers that say what is left of the quota; what the server failed to do costs nothing."""
        if self._quota is None or self._quotas is None:
            return []
        for texts, minute in self._charged if status >= 500 else ():
            self._quotas.give_back(self._key_id, texts, minute)
        self._charged.clear()
        now = self._quotas.standing(self._key_id, self._quota)
        return [(_LIMIT, b"%d" % now.quota), (_REMAINING, b"%d" % now.left), (_RESET, b"%d" % now.reset_s)]


ANYONE = Caller()
STRANGER = Caller(known=False)


def is_scoring(path: str) -> bool:
    """Return whether ``path`` is one that comments are sent to."""
    return needed(path) == ("predict",)


def needed(path: str) -> tuple[Scope, ...]:
    """Return the scopes of which one opens ``path``."""
    return NEEDED.get(path) or NEEDED.get(root_of(path), SCOPES)


class Access:
    """Decides on each request; `start` and `close` are those of its parts."""

    def __init__(self, settings: ApiSettings, keys: KeyRing | None = None, quotas: Quotas | None = None) -> None:
        """Ask for one of ``keys``; without them, answer this machine alone."""
        self.keys = keys
        self.origins = _listed(settings.cors_origins)
        self._quotas = quotas
        self._hosts = {host.lower() for host in _listed(settings.allowed_hosts)}
        self._private_port = settings.private_port
        self._private_is_loopback = settings.private_host in LOOPBACK

    def start(self) -> None:
        """Start what keeps the keys fresh."""
        if self.keys is not None:
            self.keys.start()

    def close(self) -> None:
        """Stop it; does not wait for a database that hangs."""
        if self.keys is not None:
            self.keys.close()
        if self._quotas is not None:
            self._quotas.close()

    async def admit(self, scope: HttpScope, headers: Headers) -> Caller:
        """Return who asks.

        Raises:
            ForbiddenError: the host or origin is not answered.
            UnauthorizedError: there is no key that holds.
            NotFoundError: the path is not answered on this port.
            UnavailableError: keys cannot be checked any more.
        """
        root = root_of(scope["path"])
        private = self._private_port is not None and scope["server"][1] == self._private_port
        self._check_host(headers, root, private)
        self._check_origin(headers, scope["scheme"], private)
        if self._private_port is not None and (root in (ON_PRIVATE_PORT if private else PRIVATE)) != private:
            raise NotFoundError("Not Found")
        if self.keys is None or (private and root != "/admin"):
            return ANYONE
        if root == "/ready":
            return await self._operator_or_stranger(self.keys, shown_in(scope))
        if root in OPEN or (scope["method"] == "OPTIONS" and dialect_of(scope["path"])):
            return STRANGER
        key = await self.keys.find(shown_in(scope))
        if key is None:
            raise UnauthorizedError(REFUSED)
        return Caller(key, self._quotas)

    async def _operator_or_stranger(self, keys: KeyRing, shown: str) -> Caller:
        """Return who asks for what all are told, and operators in full; no key is refused."""
        try:
            key = await keys.find(shown)
        except UnavailableError:
            key = None
        caller = STRANGER if key is None else Caller(key, self._quotas)
        return caller if caller.is_operator else STRANGER

    def _check_host(self, headers: Headers, root: str, private: bool) -> None:
        host = headers.get("host", "")
        if self._private_is_loopback if private else self.keys is None:
            if not _LOOPBACK_HOST.fullmatch(host):
                raise ForbiddenError(f"this server answers only as {', '.join(LOOPBACK)}")
        elif self._hosts and not private and _name_of(host) not in self._hosts and root not in HEALTH:
            raise ForbiddenError("this server does not answer to this name; see MODERATION_ALLOWED_HOSTS")

    def _check_origin(self, headers: Headers, scheme: str, private: bool) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self.origins or (self.keys is not None and not private):
            return
        if origin.lower() != f"{scheme}://{headers.get('host', '')}".lower():
            raise ForbiddenError("requests from other origins are refused")


def root_of(path: str) -> str:
    """Return the first part of ``path``, by which it is decided: ``/predict`` of ``/predict/batch``."""
    parts = path.split("/", 2)
    return f"/{parts[1]}" if path == "/" or (len(parts) > 1 and parts[1]) else path


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI description with the keys that its paths need."""
    schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, methods in schema["paths"].items():
        if root_of(path) not in OPEN:
            for operation in methods.values():
                operation["security"] = [{name: []} for name in _SCHEMES]
                needs = f"Needs a key with the scope {' or '.join(needed(path))}."
                operation["description"] = f"{operation.get('description', '')}\n\n{needs}"
    return schema


def shown_in(scope: HttpScope) -> str:
    """Return the key that the caller shows, whatever it is; empty if none.

    Perspective's clients show it as ``?key=`` or ``X-Goog-Api-Key``, and those that came through Google's libraries may
    show a token for Google as well.
    """
    headers = Headers(scope=scope)
    if dialect_of(scope["path"]) == "perspective" and (key := _query_key(scope) or headers.get("x-goog-api-key", "")):
        return key.strip()
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key", "").strip()


def _query_key(scope: HttpScope) -> str:
    query: str = scope["query_string"].decode("latin-1")
    try:
        return parse_qs(query, max_num_fields=100).get("key", [""])[0]
    except ValueError:  # too many fields
        return ""


def _listed(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def _name_of(host: str) -> str:
    """Return a Host header without its port."""
    return re.sub(r":[0-9]*$", "", host).lower()
