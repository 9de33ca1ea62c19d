"""A server whose people log in at a provider, as a process with the settings of an operator."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from playhead.bootstrap.logins import open_logins
from playhead.errors import CannotStart
from playhead.settings import load_settings
from tests import servers
from tests.acceptance.processes import open_deployment
from tests.servers.oidc import CALLBACK, CLIENT_ID, CLIENT_SECRET, log_in_at

PUBLIC = CALLBACK.removesuffix("/login/oidc/callback")
PIN = "/api/v1/executions/latest/pin"


@pytest.mark.slow
def test_a_person_logs_in_and_may_do_what_the_groups_allow(tmp_path: Path):
    issuer = servers.need("oidc")
    secret = tmp_path / "secret"
    secret.write_text(CLIENT_SECRET + "\n", encoding="utf-8")
    settings = {
        "PUBLIC_URL": PUBLIC,
        "OIDC_ISSUER": issuer,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET_FILE": str(secret),
        "OIDC_MAP": "sre=oncall",
    }
    with open_deployment() as deployment:
        server = deployment.serve(settings=settings)
        with httpx.Client(base_url=deployment.url, timeout=30) as browser:
            # No key exists, and the server is closed in spite of that.
            assert browser.get("/api/v1/executions").status_code == 401
            begun = browser.get("/login/oidc")
            assert begun.headers["location"].startswith(f"{issuer}/auth?")
            answer = log_in_at(begun.headers["location"], "bob")
            back = browser.get(f"/login/oidc/callback?{urlencode(answer)}")
            assert (back.status_code, back.headers["location"]) == (303, "/")

            me = browser.get("/api/v1/me").json()
            assert (me["kind"], me["name"]) == ("oidc", "bob")
            assert me["scopes"] == ["metrics", "operate", "read", "replay"]
            assert browser.get("/").status_code == 200
            codes = [
                browser.post(PIN, headers=headers).json()["error_code"]
                for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": PUBLIC})
            ]
            assert codes == ["cross_origin", "cross_origin", "execution_not_found"]
            used = [browser.cookies["playhead_session"], answer["code"], CLIENT_SECRET]
        logged = server.said
    assert "no_key" in logged
    assert not [one for one in used if one in logged]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"oidc_client_secret_file": "/nowhere"}, "cannot read PLAYHEAD_OIDC_CLIENT_SECRET_FILE"),
        ({"oidc_client_secret_file": "/nowhere", "oidc_client_secret": "s"}, "not both"),
    ],
)
def test_a_client_secret_that_cannot_be_read_stops_the_start(more: dict[str, str], why: str):
    settings = load_settings(
        public_url=PUBLIC, oidc_issuer="https://id.example", oidc_client_id="p", oidc_map="a=ci", **more
    )

    with pytest.raises(CannotStart, match=why):
        open_logins(settings, None, lambda secret: None)  # type: ignore[arg-type]
