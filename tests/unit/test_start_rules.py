"""When a server may start, and whether it then requires a key: address, access, `--insecure` and logins."""

from __future__ import annotations

import logging

import pytest

from playhead import events
from playhead.credentials import new_key
from playhead.errors import CannotStart, Unauthorized
from playhead.ports.catalog.access import KeyRecord
from playhead.server import check_address
from playhead.services.identity import IdentityService
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock

LOOPBACK = ("127.0.0.1", "127.0.0.2", "::1")
BEYOND = ("0.0.0.0", "::", "192.0.2.1")


def identity_of(catalog: MemoryCatalog, *, logins: bool) -> IdentityService:
    """Return the service of a server. Its heartbeats are far apart, as no test waits for one."""
    return IdentityService(catalog, beat_seconds=1000.0, closed=logins)


async def with_key() -> MemoryCatalog:
    catalog, key = MemoryCatalog(clock=Clock()), new_key()
    await catalog.create_key(KeyRecord(key.id, "ci", key.hash, ["run"], None, None), release="1")
    return catalog


async def requires_key(identity: IdentityService) -> bool:
    try:
        await identity.anyone()
    except Unauthorized:
        return True
    return False


@pytest.mark.parametrize("address", LOOPBACK + BEYOND)
@pytest.mark.parametrize("has_key", [False, True])
@pytest.mark.parametrize("insecure", [False, True])
@pytest.mark.parametrize("logins", [False, True])
async def test_a_server_that_other_machines_reach_requires_a_key(
    address: str, has_key: bool, insecure: bool, logins: bool, caplog: pytest.LogCaptureFixture
):
    catalog = await with_key() if has_key else MemoryCatalog(clock=Clock())
    identity = identity_of(catalog, logins=logins)
    is_required = has_key or logins

    with caplog.at_level(logging.WARNING, "playhead"):
        if address in BEYOND and not (is_required or insecure):
            with pytest.raises(CannotStart, match="playhead keys create") as refused:
                await check_address(identity, address, insecure=insecure)
            assert refused.value.code == "setup_invalid"
            return
        await check_address(identity, address, insecure=insecure)

    assert await requires_key(identity) is is_required
    warned = [line for line in caplog.records if line.message == events.INSECURE_IGNORED]
    assert len(warned) == (insecure and is_required)


@pytest.mark.parametrize(
    ("address", "insecure", "stays"), [("0.0.0.0", False, True), ("127.0.0.1", False, False)]
)
async def test_access_open_opens_only_a_server_that_could_have_started_open(
    address: str, insecure: bool, stays: bool
):
    catalog = await with_key()
    identity = identity_of(catalog, logins=False)
    await check_address(identity, address, insecure=insecure)

    await catalog.open_access()
    await identity.beat()

    assert await requires_key(identity) is stays
