"""What a client reports when a server refuses its key, and where the key does not go."""

from __future__ import annotations

import json

import pytest

from playhead.credentials import new_key
from playhead.errors import Forbidden, PlayheadError, Unauthorized
from playhead.model.access import Me
from playhead.remote.client import Client
from tests.web import Answer, Asked, Web


def refusal(status: int, code: str) -> Answer:
    body = {"detail": "the reason", "error_code": code, "correlation_id": "c", "timestamp": "t"}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "key_invalid", Unauthorized),
        (403, "scope_missing", Forbidden),
        (403, "outside_limit", Forbidden),
    ],
)
async def test_a_refused_key_leads_to_playhead_login(status: int, code: str, kind: type[PlayheadError]):
    with Web(lambda _: refusal(status, code)) as server:
        client = Client(server.url, key=new_key().text)
        with pytest.raises(kind) as refused:
            await client.get("me", Me)
        await client.close()
    assert refused.value.code == code
    assert refused.value.detail == f"the reason. To use another key, run: playhead login {server.url}"


async def test_another_key_is_not_proposed_where_none_helps():
    with Web(lambda _: refusal(403, "read_only")) as server:
        client = Client(server.url, key=new_key().text)
        with pytest.raises(Forbidden) as refused:
            await client.get("me", Me)
        await client.close()
    assert refused.value.detail == "the reason"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_key_does_not_follow_a_redirect(status: int):
    key = new_key().text
    with Web(lambda _: Answer()) as other:

        def redirect(_: Asked) -> Answer:
            return Answer(status, b"", {"Location": f"{other.url}/api/v1/me"})

        with Web(redirect) as server:
            client = Client(server.url, key=key)
            for send in (client.get("me", Me), client.post("prune", Me, lost="")):
                with pytest.raises(PlayheadError, match="redirects to") as refused:
                    await send
                assert refused.value.code == "not_playhead"
                assert key not in refused.value.detail
            await client.close()
        assert [one.headers.get("x-playhead-key") for one in server.asked] == [key, key]
        assert other.asked == []
