"""A small identity provider for tests: ``python -m tests.identity_provider --help``.

OpenID Connect Core 1.0, the authorization code flow with PKCE (RFC 7636): discovery, authorize, token, keys. Whoever
asks chooses who to be. It refuses what a real one refuses: another client, redirect or scope, a code that is used, old
or of another verifier.
"""

import argparse
import base64
import hashlib
import html
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CODE_LIFE_S = 60


@dataclass
class Provider:
    """One client, a key, and the codes that were given out and not used yet."""

    url: str
    client: tuple[str, str]
    redirect_uri: str
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"use": "sig", "kid": "one"}))
    codes: dict[str, tuple[dict[str, str], float]] = field(default_factory=dict)

    async def discover(self, request: Request) -> Response:
        """Say where everything is."""
        endpoints = {"authorization": "authorize", "token": "token", "end_session": "end"}
        return JSONResponse(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                **{f"{name}_endpoint": f"{self.url}/{path}" for name, path in endpoints.items()},
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def keys(self, request: Request) -> Response:
        """Return the public key."""
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        """Ask who it is, then lead back with a code."""
        asked = dict(request.query_params)
        expected = {
            "client_id": self.client[0],
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        wrong = [name for name, value in expected.items() if asked.get(name) != value]
        wrong += [name for name in ("state", "nonce", "code_challenge") if not asked.get(name)]
        if wrong or "openid" not in asked.get("scope", "").split():
            return Response(f"wrong: {', '.join(wrong) or 'scope'}", status_code=400)
        if request.method == "GET":
            fields = '<input name="email" autofocus> <input name="verified" value="yes"> <input name="age_s" value="0">'
            action = html.escape(f"/authorize?{request.url.query}")
            return HTMLResponse(f'<form method="post" action="{action}">{fields} <button>Go on</button></form>')
        code = secrets.token_urlsafe()
        self.codes[code] = asked | {name: str(value) for name, value in (await request.form()).items()}, time.time()
        return RedirectResponse(
            f"{self.redirect_uri}?{urlencode({'code': code, 'state': asked['state']})}", status_code=303
        )

    async def token(self, request: Request) -> Response:
        """Give the identity for a code, once, to the client that asked for it."""
        sent = await request.form()
        given, at = self.codes.pop(str(sent.get("code")), ({}, 0.0))
        verifier = hashlib.sha256(str(sent.get("code_verifier")).encode()).digest()
        if _credentials(request) != self.client:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        if (
            time.time() - at > CODE_LIFE_S
            or sent.get("redirect_uri") != self.redirect_uri
            or base64.urlsafe_b64encode(verifier).decode().rstrip("=") != given.get("code_challenge")
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        issued = int(time.time()) - int(given["age_s"])
        claims = {
            "iss": self.url,
            "aud": self.client[0],
            "sub": hashlib.sha256(given["email"].encode()).hexdigest(),
            "iat": issued,
            "exp": int(time.time()) + 300,
            "nonce": given["nonce"],
            "email": given["email"],
            "email_verified": given["verified"] == "yes",
        }
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
        return JSONResponse({"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": signed})

    async def end(self, request: Request) -> Response:
        """Sign out here as well, and lead back."""
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], status_code=303)

    def app(self) -> Starlette:
        """Return what answers."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discover),
                Route("/keys", self.keys),
                Route("/authorize", self.authorize, methods=["GET", "POST"]),
                Route("/token", self.token, methods=["POST"]),
                Route("/end", self.end),
            ]
        )


def _credentials(request: Request) -> tuple[str, str]:
    """Return the client's name and secret, sent by HTTP Basic."""
    decoded = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
    name, _, secret = decoded.partition(":")
    return name, secret


def main() -> None:
    """Answer on loopback until stopped."""
    parser = argparse.ArgumentParser(description="A small identity provider for tests, on loopback.")
    parser.add_argument("port", type=int)
    parser.add_argument("client_id")
    parser.add_argument("client_secret")
    parser.add_argument("redirect_uri")
    given = parser.parse_args()
    url = f"http://127.0.0.1:{given.port}"
    provider = Provider(url, (given.client_id, given.client_secret), given.redirect_uri)
    uvicorn.run(provider.app(), host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
