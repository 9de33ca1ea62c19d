"""Logins with OpenID Connect: authorization code with PKCE (S256), state, nonce, and `iss` (RFC 9207).

Only the ID token counts. It comes from the token endpoint, and its signature is verified with the keys that
the provider publishes. Its algorithm must be asymmetric and that of its key. After the login, the tokens of
the provider are dropped.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlencode

import httpx
import jwt

from playhead.errors import Unavailable
from playhead.ports.catalog.access import LoginRecord
from playhead.ports.login import LoginRefused, Person

_ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
_REQUIRED: Final = ["exp", "iat", "aud", "sub", "iss"]
_LEEWAY_SECONDS: Final = 30.0
_KEPT_SECONDS: Final = 3600.0
"""How long the metadata and the keys of the provider are used without a new request."""
_UNKNOWN_KEY_SECONDS: Final = 10.0
"""An unknown key id causes at most one request for the keys in this time."""
_REQUEST_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1 << 20
_MAX_SUBJECT: Final = 255
_SHOWN: Final = 200


class _Metadata(NamedTuple):
    """What the discovery document of the provider says.

    Attributes:
        sends_issuer: each answer has the parameter `iss` (RFC 9207).
        takes_form: the client secret is sent in the form, because `Authorization` is not supported.
        scopes: scopes that the provider lists.
    """

    authorization: str
    token: str
    keys: str
    sends_issuer: bool
    takes_form: bool
    scopes: frozenset[str]


class OidcProvider:
    """An OpenID Connect provider.

    Args:
        issuer: as in its discovery document, byte for byte.
        secret: client secret; None: a public client.
        callback: URL to which the provider sends browsers back.
        claim: claim of the ID token with the groups.
        clock: seconds of a clock that does not go back.
    """

    def __init__(
        self,
        issuer: str,
        *,
        client_id: str,
        secret: str | None,
        callback: str,
        claim: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._callback = callback
        self._claim = claim
        self._clock = clock
        self._http: httpx.AsyncClient | None = None
        self._reading = asyncio.Lock()
        self._metadata: _Metadata | None = None
        self._metadata_at = 0.0
        self._keys: list[Mapping[str, Any]] = []
        self._keys_at = float("-inf")
        self._keys_tried_at = float("-inf")

    async def address(self, login: LoginRecord) -> str:
        metadata = await self._read_metadata()
        scopes = ["openid", "email", "profile", *({self._claim} & metadata.scopes)]
        challenge = base64.urlsafe_b64encode(sha256(login.verifier.encode()).digest()).rstrip(b"=")
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(scopes),
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        return f"{metadata.authorization}{'&' if '?' in metadata.authorization else '?'}{urlencode(query)}"

    async def finish(self, login: LoginRecord, answer: Mapping[str, str]) -> Person:
        if not _equal(answer.get("state"), login.state):
            raise LoginRefused("the answer of the provider belongs to another login")
        metadata = await self._read_metadata()
        # Also of an error: it may come from another provider that has mixed up the two.
        if ("iss" in answer or metadata.sends_issuer) and answer.get("iss") != self._issuer:
            raise LoginRefused("the answer is from another provider")
        if "error" in answer:
            raise LoginRefused(f"the provider answered {answer['error'][:_SHOWN]!r}")
        if not answer.get("code"):
            raise LoginRefused("the answer has no code")
        token = await self._redeem(metadata, answer["code"], login.verifier)
        claims = await self._verified(token)
        if not _equal(claims.get("nonce"), login.nonce):
            raise LoginRefused("the ID token belongs to another login")
        return self._person(claims)

    async def close(self) -> None:
        if self._http:
            await self._http.aclose()

    # -- the ID token ------------------------------------------------------------------------------

    async def _redeem(self, metadata: _Metadata, code: str, verifier: str) -> str:
        """Return the ID token for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": verifier,
        }
        auth: tuple[str, str] | None = None
        if self._secret is not None and not metadata.takes_form:
            # RFC 6749, 2.3.1: both are encoded as in a form.
            auth = (quote_plus(self._client_id), quote_plus(self._secret))
        else:
            form["client_id"] = self._client_id
            if self._secret is not None:
                form["client_secret"] = self._secret
        status, found = await self._request("POST", metadata.token, data=form, auth=auth)
        if status != 200:
            raise LoginRefused(f"the token endpoint answered {status}, {str(found.get('error'))[:_SHOWN]!r}")
        token = found.get("id_token")
        if not isinstance(token, str):
            raise LoginRefused("the token endpoint returned no ID token")
        return token

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """Return the claims of an ID token that the provider has signed for this client."""
        try:
            head = jwt.get_unverified_header(token)
        except jwt.PyJWTError as exc:
            raise LoginRefused(f"the ID token is malformed: {exc}") from exc
        algorithm, kid = str(head.get("alg")), head.get("kid")
        if algorithm not in _ALGORITHMS:
            raise LoginRefused(f"the ID token has the algorithm {algorithm[:_SHOWN]!r}, which is not allowed")
        key = await self._key(kid, algorithm)
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(dict(key), algorithm),
                algorithms=[algorithm],
                audience=self._client_id,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as exc:
            raise LoginRefused(f"the ID token is not valid: {exc}") from exc
        audiences = claims["aud"]
        if isinstance(audiences, list) and len(audiences) > 1 and claims.get("azp") != self._client_id:
            raise LoginRefused("the ID token was issued to another client")
        return claims

    def _person(self, claims: Mapping[str, Any]) -> Person:
        subject, email = claims["sub"], claims.get("email")
        if not (0 < len(subject) <= _MAX_SUBJECT and subject.isprintable()):
            raise LoginRefused("the subject of the ID token is empty, too long or not printable")
        # People choose other names themselves, so they prove nothing.
        is_verified = isinstance(email, str) and email.isprintable() and claims.get("email_verified") is True
        groups = claims.get(self._claim, ())
        named = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else ()
        return Person(
            f"{self._issuer}#{subject}",
            str(email if is_verified else subject)[:_SHOWN],
            frozenset(one for one in named if isinstance(one, str)),
        )

    # -- what the provider publishes ---------------------------------------------------------------

    async def _read_metadata(self) -> _Metadata:
        async with self._reading:
            if self._metadata is None or self._clock() - self._metadata_at >= _KEPT_SECONDS:
                url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                self._metadata = self._checked(await self._published(url))
                self._metadata_at = self._clock()
            return self._metadata

    def _checked(self, found: Mapping[str, Any]) -> _Metadata:
        if found.get("issuer") != self._issuer:
            raise _unavailable(
                f"the provider is the issuer {str(found.get('issuer'))[:_SHOWN]!r}, and PLAYHEAD_OIDC_ISSUER "
                f"is {self._issuer!r}: both must be equal"
            )
        endpoints = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        scheme = self._issuer.partition(":")[0]
        if not all(
            isinstance(one, str) and one.startswith((f"{scheme}://", "https://")) for one in endpoints
        ):
            raise _unavailable(f"the discovery document of {self._issuer} lacks an endpoint with https:")
        authorization, token, keys = map(str, endpoints)
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        scopes = found.get("scopes_supported") or []
        return _Metadata(
            authorization,
            token,
            keys,
            found.get("authorization_response_iss_parameter_supported") is True,
            "client_secret_basic" not in methods,
            frozenset(one for one in scopes if isinstance(one, str)),
        )

    async def _key(self, kid: str | None, algorithm: str) -> Mapping[str, Any]:
        """Return the key with this id; without an id, the only key."""
        url = (await self._read_metadata()).keys
        async with self._reading:
            now = self._clock()
            is_due = now - self._keys_at >= _KEPT_SECONDS or not self._named(kid)
            if is_due and (not self._keys or now - self._keys_tried_at >= _UNKNOWN_KEY_SECONDS):
                self._keys_tried_at = now
                try:
                    found = (await self._published(url)).get("keys")
                except Unavailable:
                    if not self._keys:
                        raise
                else:
                    self._keys = [one for one in found or () if _signs(one)]
                    self._keys_at = now
            keys = self._named(kid)
        if len(keys) != 1:
            raise LoginRefused("no key, or more than one key, of the provider fits the ID token")
        if keys[0].get("alg", algorithm) != algorithm:
            raise LoginRefused("the ID token has another algorithm than its key")
        return keys[0]

    def _named(self, kid: str | None) -> list[Mapping[str, Any]]:
        return [one for one in self._keys if kid is None or one.get("kid") == kid]

    async def _published(self, url: str) -> Mapping[str, Any]:
        status, found = await self._request("GET", url)
        if status != 200:
            raise _unavailable(f"{url} answered {status}")
        return found

    async def _request(self, method: str, url: str, **given: Any) -> tuple[int, Mapping[str, Any]]:
        """Return the status and the JSON object of a response. Redirects are not followed."""
        if self._http is None:  # opened late: it loads the certificates of all authorities
            self._http = httpx.AsyncClient(
                verify=httpx.create_ssl_context(), trust_env=False, headers={"Accept": "application/json"}
            )
        body = b""
        try:
            async with (
                asyncio.timeout(_REQUEST_SECONDS),
                self._http.stream(method, url, timeout=None, **given) as response,
            ):
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAX_BYTES:
                        raise _unavailable(f"{url} returned more than {_MAX_BYTES:,} bytes")
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            raise _unavailable(f"{url} does not answer: {str(exc) or type(exc).__name__}") from exc
        if response.status_code >= 500:
            raise _unavailable(f"{url} answered {response.status_code}")
        return response.status_code, _object(body)


def _object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body; an empty one if it has none."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _signs(key: object) -> bool:
    """Whether a published key may verify signatures. A symmetric one would let its readers sign."""
    return isinstance(key, dict) and key.get("kty") != "oct" and key.get("use", "sig") == "sig"


def _equal(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def _unavailable(why: str) -> Unavailable:
    return Unavailable("login_unavailable", f"no login is possible now: {why}")
