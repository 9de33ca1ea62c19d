"""A process may start before its broker or store. It logs that, and uses them when they are available."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playhead.bootstrap import open_runtime
from playhead.errors import Unavailable
from playhead.settings import Settings
from tests.servers import need
from tests.servers.process import free_port
from tests.servers.proxy import Proxy, through
from tests.waiting import until_told


@pytest.mark.parametrize(
    ("backend", "name"), [("broker", "nats"), ("broker", "rabbitmq"), ("broker", "postgres"), ("store", "s3")]
)
async def test_a_backend_that_is_reachable_late_is_used(backend: str, name: str, tmp_path: Path) -> None:
    server, port = need(name), free_port()
    given: dict[str, Any] = {backend: through(server, port)}
    async with open_runtime(Settings(home=tmp_path, **given)) as rt:
        with pytest.raises(Unavailable):
            await getattr(rt, backend).check()
        with Proxy(server, port):
            assert name in await until_told(getattr(rt, backend).check, Unavailable)
