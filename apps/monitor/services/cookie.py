"""The cookie that keeps a sign-in over a reload: read by the page, set and deleted by this route. Knows no Streamlit.

It holds the session's token and nothing else: whether it still opens anything, the database says at each action.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moderation.review.access import SESSION_LIFE
from moderation.settings import MonitorSettings

COOKIE = "moderation_session"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,100}")
_MOST_BYTES = 100


def kept_token(cookies: Mapping[str, object]) -> str | None:
    """Return the token among a page's cookies; None: there is none, or nothing like one."""
    token = cookies.get(COOKIE)
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None


def path(base: str | None) -> str:
    """Return where the route is, for an app that lies at ``base`` (Streamlit's ``server.baseUrlPath``)."""
    return "/".join(["", *filter(None, [(base or "").strip("/")]), "session"])


def routes(settings: MonitorSettings, base: str | None) -> list[Route]:
    """Return the routes that keep a token and that forget it; over https, by the request or by the settings, the
    cookie is secure.
    """  # noqa: D205 - one sentence
    own, cookie_path = urlsplit(settings.monitor_url or ""), path(base).removesuffix("session")

    async def keep(request: Request) -> Response:
        if not _from_own_page(request, own.netloc):
            return Response(status_code=403)
        if int(request.headers.get("content-length", _MOST_BYTES + 1)) > _MOST_BYTES:
            return Response(status_code=413)
        token = (await request.body()).decode("ascii", errors="replace")
        if not _TOKEN.fullmatch(token):
            return Response(status_code=400)
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(SESSION_LIFE.total_seconds()),
            path=cookie_path,
            secure="https" in (request.url.scheme, own.scheme),
            httponly=True,
            samesite="strict",
        )
        return response

    async def forget(request: Request) -> Response:
        if not _from_own_page(request, own.netloc):
            return Response(status_code=403)
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path=cookie_path, httponly=True, samesite="strict")
        return response

    return [Route(path(base), keep, methods=["POST"]), Route(path(base), forget, methods=["DELETE"])]


def _from_own_page(request: Request, known_as: str) -> bool:
    """Return whether a page of this app asks; another site could else sign its visitors in as somebody else."""
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    asks = urlsplit(request.headers.get("origin", "")).netloc
    return bool(asks) and asks in (request.headers.get("host"), known_as)
