"""Settings of logins at a provider or a proxy."""

from __future__ import annotations

import pytest

from playhead.errors import CannotStart
from playhead.settings import load_settings


def refusal(**flags: object) -> str:
    with pytest.raises(CannotStart) as caught:
        load_settings(**flags)
    return caught.value.detail


OIDC = {
    "public_url": "https://playhead.example",
    "oidc_map": "sre=oncall",
    "oidc_client_id": "playhead",
    "oidc_issuer": "https://id.example",
}
PROXY = {"oidc_map": "sre=oncall", "proxy_secret": "s" * 32, "proxy_user_header": "X-Forwarded-User"}


def test_groups_have_the_rights_of_a_role_and_a_limit():
    sre, docs = load_settings(oidc_map="sre=oncall, docs-team = developer:docs").oidc_map

    assert (sre.group, sre.configs) == ("sre", None)
    assert sre.scopes == {"replay", "operate", "read", "metrics"}
    assert (docs.group, docs.configs) == ("docs-team", frozenset({"docs"}))


@pytest.mark.parametrize("entry", ["sre", "sre=", "=oncall", "sre=boss", "sre=oncall:", "oncall:docs"])
def test_invalid_rights_of_a_group_are_refused(entry: str):
    assert "GROUP=ROLE" in refusal(oidc_map=entry)


@pytest.mark.parametrize("missing", ["public_url", "oidc_map", "oidc_client_id"])
def test_a_provider_needs_the_other_settings(missing: str):
    given = {name: value for name, value in OIDC.items() if name != missing}

    assert f"also set PLAYHEAD_{missing.upper()}" in refusal(**given)
    assert load_settings(**OIDC).oidc_issuer == "https://id.example"


@pytest.mark.parametrize("missing", ["oidc_map", "proxy_secret"])
def test_the_header_of_a_proxy_needs_the_other_settings(missing: str):
    given = {name: value for name, value in PROXY.items() if name != missing}

    assert f"also set PLAYHEAD_{missing.upper()}" in refusal(**given)
    assert "must not be" in refusal(**PROXY, proxy_groups_header="x-forwarded-user")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proxy_secret", "s" * 31),
        ("proxy_user_header", "X_User"),
        ("proxy_user_header", "Authorization"),
        ("proxy_user_header", "X-Playhead-Key"),
        ("oidc_issuer", "http://id.example"),
        ("oidc_issuer", "https://id.example?a=b"),
        ("oidc_issuer", "https://u:p@id.example"),
        ("oidc_issuer", "https://["),
        ("public_url", "http://playhead.example"),
        ("public_url", "https://playhead.example/path"),
        ("public_url", "https://u@playhead.example"),
        ("public_url", "https://playhead.example:0"),
        ("public_url", "https://playhead.example:port"),
        ("public_url", "playhead.example"),
    ],
)
def test_an_invalid_setting_of_logins_is_refused(name: str, value: str):
    assert "is not valid" in refusal(**(OIDC | PROXY | {name: value}))


@pytest.mark.parametrize("given", [OIDC, PROXY, {"oidc_client_id": "p"}, {"proxy_secret": "s" * 32}])
def test_a_server_with_settings_of_logins_is_never_open(given: dict[str, str]):
    assert load_settings(**given).has_logins
    assert not load_settings().has_logins


def test_secrets_of_logins_are_not_in_the_repr_of_settings():
    settings = load_settings(oidc_client_secret="s3cret", proxy_secret="s3cret" * 6)
    assert "s3cret" not in repr(settings)
