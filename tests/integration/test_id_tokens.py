"""Logins with OpenID Connect: ID tokens and documents that no honest provider sends."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from playhead.errors import Unavailable
from playhead.ports.login import LoginRefused, Person
from tests.lab import Clock
from tests.logins import LOGIN, provider_at
from tests.servers.oidc import CLIENT_ID
from tests.web import Answer, Asked, Web

RSA: Final = rsa.generate_private_key(65537, 2048)
FOREIGN: Final = rsa.generate_private_key(65537, 2048)
SHORT: Final = rsa.generate_private_key(65537, 1024)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
PEM: Final = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OCT: Final = b"o" * 32

JWK = dict[str, Any]


def published(key: Any, kid: str | None = "one", **more: Any) -> JWK:
    algorithm: Any = {
        RSA: RSAAlgorithm,
        FOREIGN: RSAAlgorithm,
        SHORT: RSAAlgorithm,
        EC: ECAlgorithm,
        ED: OKPAlgorithm,
    }
    found: JWK = algorithm[key].to_jwk(key.public_key(), as_dict=True)
    return found | ({"kid": kid} if kid else {}) | {"use": "sig"} | more


OF_NO_USE: Final[list[JWK]] = [
    published(FOREIGN, "encrypts", use="enc"),
    {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(OCT).decode()},
]
"""Published keys that verify no signature."""


class Scripted:
    """A provider that returns the ID token and the documents that a test sets.

    Attributes:
        token: returns the next ID token from the claims of an honest one.
        keys: what it publishes; None: it fails.
        metadata: fields of the discovery document that differ.
        asked: paths of the requests.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self.token: Callable[[JWK], object] = signed
        self.keys: list[JWK] | None = [published(RSA, alg="RS256")]
        self.metadata: JWK = {}
        self.response: Answer | None = None

    @property
    def claims(self) -> JWK:
        now = int(time.time())
        own = {"iss": self._url(), "sub": "alice", "aud": CLIENT_ID, "nonce": LOGIN.nonce}
        return {**own, "iat": now, "exp": now + 300, "groups": ["sre"]}

    def __call__(self, asked: Asked) -> Answer:
        url = self._url()
        if asked.path == "/.well-known/openid-configuration":
            paths = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/keys"}
            found: object = {"issuer": url} | {n: url + p for n, p in paths.items()} | self.metadata
        elif asked.path == "/keys":
            if self.keys is None:
                return Answer(500)
            found = {"keys": self.keys}
        elif self.response:
            return self.response
        else:
            found = {"id_token": self.token(self.claims)}
        return Answer(body=json.dumps(found).encode())


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(lambda asked: scripted(asked)) as server:
        scripted = Scripted(lambda: server.url)
        server.scripted = scripted  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def scripted(web: Web) -> Scripted:
    return web.scripted  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
async def forged(web: Web) -> AsyncIterator[Callable[[], Any]]:
    """Finish a login at the scripted provider."""
    async with provider_at(web.url) as made:
        yield lambda: made.finish(LOGIN, {"state": LOGIN.state, "code": "any"})


def signed(claims: Mapping[str, Any], key: Any = RSA, alg: str = "RS256", **head: Any) -> str:
    names = {name: value for name, value in ({"kid": "one"} | head).items() if value is not None}
    return jwt.encode(dict(claims), key, alg, headers=names)


def by_hand(head: JWK, claims: JWK, secret: bytes | None) -> str:
    """Return a token that the library refuses to make."""

    def encoded(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    text = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256')) if secret else ''}"


def with_claims(**changed: Any) -> Callable[[JWK], str]:
    return lambda claims: signed({n: v for n, v in (claims | changed).items() if v is not None})


NOW: Final = int(time.time())
REFUSED: Final[Mapping[str, tuple[str, Callable[[JWK], object]]]] = {
    "no token": ("returned no ID token", lambda claims: None),
    "not a token": ("malformed", lambda claims: "x.y"),
    "algorithm none": ("not allowed", lambda claims: by_hand({"alg": "none", "kid": "one"}, claims, None)),
    "no algorithm": ("not allowed", lambda claims: by_hand({"kid": "one"}, claims, None)),
    "HS256 with the public key": (
        "not allowed",
        lambda claims: by_hand({"alg": "HS256", "kid": "one"}, claims, PEM),
    ),
    "HS256 with a published key": (
        "not allowed",
        lambda claims: by_hand({"alg": "HS256", "kid": "oct"}, claims, OCT),
    ),
    "a foreign key": ("Signature verification failed", lambda claims: signed(claims, FOREIGN)),
    "a foreign key in the header": (
        "Signature verification failed",
        lambda claims: signed(claims, FOREIGN, jwk=published(FOREIGN)),
    ),
    "a foreign key at an address": (
        "Signature verification failed",
        lambda claims: signed(claims, FOREIGN, jku="https://evil.example/keys"),
    ),
    "a key that only encrypts": ("no key", lambda claims: signed(claims, FOREIGN, kid="encrypts")),
    "a short key": ("1024 bits", lambda claims: signed(claims, SHORT, kid="short")),
    "an unknown key": ("no key", lambda claims: signed(claims, kid="unknown")),
    "no key id, with several keys": ("more than one key", lambda claims: signed(claims, kid=None)),
    "another algorithm than its key": ("another algorithm", lambda claims: signed(claims, alg="PS256")),
    "another kind of key": ("another algorithm", lambda claims: signed(claims, EC, "ES256")),
    "an unknown critical header": ("ritical", lambda claims: signed(claims, crit=["exp2"], exp2=1)),
    "expired": ("expired", with_claims(exp=NOW - 60)),
    "not yet issued": ("iat", with_claims(iat=NOW + 3600)),
    "not yet valid": ("nbf", with_claims(nbf=NOW + 3600)),
    "no expiry": ("exp", with_claims(exp=None)),
    "no time of issue": ("iat", with_claims(iat=None)),
    "no subject": ("sub", with_claims(sub=None)),
    "an empty subject": ("subject", with_claims(sub="")),
    "no audience": ("aud", with_claims(aud=None)),
    "no issuer": ("iss", with_claims(iss=None)),
    "another issuer": ("issuer", with_claims(iss="https://evil.example")),
    "another audience": ("Audience", with_claims(aud="another")),
    "several audiences without azp": ("another client", with_claims(aud=[CLIENT_ID, "another"])),
    "several audiences, for another": (
        "another client",
        with_claims(aud=[CLIENT_ID, "another"], azp="another"),
    ),
    "no nonce": ("another login", with_claims(nonce=None)),
    "another nonce": ("another login", with_claims(nonce="another")),
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_id_token_is_refused(scripted: Scripted, forged: Callable[[], Any], case: str):
    scripted.keys = [*(scripted.keys or ()), *OF_NO_USE, published(SHORT, "short")]
    why, scripted.token = REFUSED[case]

    with pytest.raises(LoginRefused, match=why):
        await forged()


ACCEPTED: Final[Mapping[str, tuple[JWK, Callable[[JWK], str]]]] = {
    "RS256": (published(RSA), signed),
    "PS256": (published(RSA), lambda claims: signed(claims, alg="PS256")),
    "ES256": (published(EC), lambda claims: signed(claims, EC, "ES256")),
    "EdDSA": (published(ED), lambda claims: signed(claims, ED, "EdDSA")),
    "no key id, with one key": (published(RSA, None), lambda claims: signed(claims, kid=None)),
    "ended a moment ago": (published(RSA), lambda claims: signed(claims | {"exp": int(time.time()) - 5})),
    "several audiences": (
        published(RSA),
        lambda claims: signed(claims | {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}),
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_good_id_token_is_accepted(scripted: Scripted, forged: Callable[[], Any], case: str):
    key, scripted.token = ACCEPTED[case]
    scripted.keys = [key, *OF_NO_USE]

    assert (await forged()).groups == {"sre"}


@pytest.mark.parametrize(
    ("claim", "groups"),
    [("sre", {"sre"}), (["a", 1, "b"], {"a", "b"}), ({"sre": 1}, set()), (None, set())],
)
async def test_groups_are_a_text_or_a_list_of_texts(
    scripted: Scripted, forged: Callable[[], Any], claim: object, groups: set[str]
):
    scripted.token = with_claims(groups=claim)

    assert (await forged()).groups == groups


# -- what the provider publishes -------------------------------------------------------------------


def count(web: Web, path: str) -> int:
    return sum(asked.path == path for asked in web.asked)


async def test_unknown_key_ids_cause_one_request_in_ten_seconds(web: Web, scripted: Scripted):
    clock = Clock()
    async with provider_at(web.url, clock=clock) as made:

        async def login() -> Person:
            return await made.finish(LOGIN, {"state": LOGIN.state, "code": "any"})

        await login()
        _, scripted.token = REFUSED["an unknown key"]
        clock.advance(10)
        for _ in range(20):
            with pytest.raises(LoginRefused):
                await login()
        assert count(web, "/keys") == 2
        clock.advance(10)
        with pytest.raises(LoginRefused):
            await login()
        assert count(web, "/keys") == 3
        assert count(web, "/.well-known/openid-configuration") == 1


async def test_keys_are_replaced_as_a_whole_and_kept_if_they_cannot_be_read(web: Web, scripted: Scripted):
    clock = Clock()
    async with provider_at(web.url, clock=clock) as made:

        async def login() -> Person:
            return await made.finish(LOGIN, {"state": LOGIN.state, "code": "any"})

        await login()
        scripted.keys = None
        clock.advance(3600)
        assert (await login()).groups == {"sre"}

        scripted.keys = [published(FOREIGN, "new")]
        clock.advance(10)
        with pytest.raises(LoginRefused):
            await login()
        scripted.token = lambda claims: signed(claims, FOREIGN, kid="new")
        assert (await login()).groups == {"sre"}
        assert count(web, "/.well-known/openid-configuration") == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": 1},
    ],
)
async def test_an_invalid_discovery_document_is_refused(web: Web, scripted: Scripted, metadata: JWK):
    scripted.metadata = metadata

    async with provider_at(web.url) as made:
        with pytest.raises(Unavailable) as refused:
            await made.address(LOGIN)
    assert refused.value.code == "login_unavailable"


@pytest.mark.parametrize(
    "response",
    [
        Answer(302, headers={"Location": "https://evil.example/"}),
        Answer(body=b"[]"),
        Answer(body=b'{"id_token": 1}'),
        Answer(body=b"\xff"),
    ],
)
async def test_other_responses_of_the_token_endpoint_are_refused(
    scripted: Scripted, forged: Callable[[], Any], response: Answer
):
    scripted.response = response

    with pytest.raises(LoginRefused):
        await forged()


@pytest.mark.parametrize("response", [Answer(503), Answer(body=b" " * (1 << 20) + b"{}")])
async def test_a_provider_that_fails_is_reported_as_unavailable(
    scripted: Scripted, forged: Callable[[], Any], response: Answer
):
    scripted.response = response

    with pytest.raises(Unavailable):
        await forged()


@pytest.mark.parametrize(
    ("methods", "secret", "is_in_header"),
    [
        (None, "s", True),
        (["client_secret_basic", "client_secret_post"], "s", True),
        (["client_secret_post"], "s", False),
        (["none"], None, False),
    ],
)
async def test_the_client_secret_is_sent_as_the_provider_supports_it(
    web: Web, scripted: Scripted, methods: list[str] | None, secret: str | None, is_in_header: bool
):
    scripted.metadata = {"token_endpoint_auth_methods_supported": methods}

    async with provider_at(web.url, secret=secret) as made:
        await made.finish(LOGIN, {"state": LOGIN.state, "code": "any"})

    (asked,) = (one for one in web.asked if one.path == "/token")
    assert ("authorization" in asked.headers) == is_in_header
    assert (b"client_secret=s" in asked.body) == (secret is not None and not is_in_header)
    assert b"code_verifier=" + b"v" * 64 in asked.body
