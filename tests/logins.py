"""What tests of logins share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from playhead.backends.login_oidc import OidcProvider
from playhead.ports.catalog.access import LoginRecord
from tests.servers.oidc import CALLBACK, CLIENT_ID, CLIENT_SECRET

LOGIN: Final = LoginRecord("the-state", "the-nonce", "v" * 64, "/")


@asynccontextmanager
async def provider_at(url: str, **options: Any) -> AsyncIterator[OidcProvider]:
    given = {"client_id": CLIENT_ID, "secret": CLIENT_SECRET, "callback": CALLBACK, "claim": "groups"}
    made = OidcProvider(url, **(given | options))
    yield made
    await made.close()
