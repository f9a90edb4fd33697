"""The web page to try a comment: files of our own only, nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

STATIC_DIR = Path(__file__).resolve().parents[1] / "static"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}


def router() -> APIRouter:
    """Return the page and its files."""
    routes = APIRouter(include_in_schema=False)
    page = (STATIC_DIR / "index.html").read_text(encoding="utf-8")

    @routes.head("/")
    @routes.get("/")
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers=_HEADERS)

    routes.mount("/static", StaticFiles(directory=STATIC_DIR), name="static")
    return routes
