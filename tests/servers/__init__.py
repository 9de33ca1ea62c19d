"""Real servers for the tests, from nothing: started on first use, gone when the tests are.

    url = need("nats")              # in a test: its URL, or the test is skipped, or fails
    with fresh("postgres") as own:  # one to do things to: kill, stop, pause, resume, start

Names: postgres, nats, nats-three, s3, s3-moto, rabbitmq. `PLAYHEAD_TEST_POSTGRES_URL` and so on
(`…_NATS_URL`, `…_S3_URL`, `…_RABBITMQ_URL`) name servers that run already, which `server` and `need` then
take.
`PLAYHEAD_TEST_REQUIRE` names, in a comma list, those without which the tests fail rather than be skipped.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Never

import pytest

from tests.servers import rabbitmq
from tests.servers.nats import Nats, NatsThree
from tests.servers.postgres import Postgres
from tests.servers.process import DidNotStart, Missing, Server
from tests.servers.rabbitmq import RabbitMq
from tests.servers.s3 import Moto, Rclone

__all__ = ["SERVERS", "DidNotStart", "Missing", "Server", "absent", "fresh", "need", "need_fresh", "server"]

SERVERS: Final[Mapping[str, type[Server]]] = {
    kind.name: kind for kind in (Postgres, Nats, NatsThree, Rclone, Moto, RabbitMq)
}
#: What `PLAYHEAD_TEST_REQUIRE` may name.
REQUIRABLE: Final = ("postgres", "nats", "s3", "rabbitmq", "deploy", "docs", "disk")

_KEPT_LINES: Final = 100_000

_urls: dict[str, str] = {}
_shared: list[Server] = []
_missing: dict[str, Missing] = {}
#: How many tests were skipped for want of a server.
skipped: dict[str, int] = {}


def server(name: str) -> str:
    """The URL of the server that all tests of this process share; the first call starts it.

    Raises:
        Missing: it can't be had here.
        DidNotStart: it is installed but does not come up.
    """
    if name in _missing:
        raise _missing[name]
    if name not in _urls:
        try:
            _urls[name] = _elsewhere(name) or _own(name)
        except Missing as exc:
            _missing[name] = exc
            raise
    return _urls[name]


def fresh(name: str, *arguments: str) -> Server:
    """A server of the caller's own, started; a context that ends it.

    Args:
        arguments: go after those that it is started with (nats: `-c file`; postgres:
            `--max_connections=5`).

    Raises:
        Missing: it can't be started here. One that runs elsewhere is no help: it can't be killed.
        DidNotStart: it is installed but does not come up.
    """
    made = SERVERS[name](*arguments)
    try:
        made.start()
    except BaseException:
        made.close()
        raise
    return made


def need(name: str) -> str:
    """`server` for tests: without it the test is skipped, or fails if `PLAYHEAD_TEST_REQUIRE` names it."""
    try:
        return server(name)
    except Missing as exc:
        absent(exc)


def need_fresh(name: str, *arguments: str) -> Server:
    """`fresh` for tests: without it the test is skipped, or fails if `PLAYHEAD_TEST_REQUIRE` names it."""
    try:
        return fresh(name, *arguments)
    except Missing as exc:
        absent(exc)


def absent(exc: Missing) -> Never:
    """Skips the test for what is missing, or fails it."""
    if exc.name.partition("-")[0] in required():
        reason = f"{exc} (PLAYHEAD_TEST_REQUIRE names it)"
        raise pytest.fail.Exception(reason, pytrace=False) from None
    _missing[exc.name] = exc
    skipped[exc.name] = skipped.get(exc.name, 0) + 1
    pytest.skip(str(exc))


def required() -> frozenset[str]:
    """What `PLAYHEAD_TEST_REQUIRE` names.

    Raises:
        pytest.UsageError: it names something that is no server: a slip would skip in silence.
    """
    named = {name.strip() for name in os.environ.get("PLAYHEAD_TEST_REQUIRE", "").split(",")} - {""}
    if unknown := named - set(REQUIRABLE):
        raise pytest.UsageError(
            f"PLAYHEAD_TEST_REQUIRE names {', '.join(sorted(unknown))}; there are {', '.join(REQUIRABLE)}"
        )
    return frozenset(named)


def what_is_missing() -> dict[str, int]:
    """How many tests were skipped, by the server for want of which they were, and what would bring it."""
    return {str(_missing[name]): count for name, count in sorted(skipped.items())}


def keep_logs(config: pytest.Config) -> Path | None:
    """Copies the logs of the shared servers to where they outlive the run; returns that folder."""
    # Without its plugin (`-p no:cacheprovider`) there is no such attribute.
    cache = getattr(config, "cache", None)
    if not _shared or cache is None:
        return None
    folder: Path = cache.mkdir("servers")
    process = os.environ.get("PYTEST_XDIST_WORKER", "")
    for own in _shared:
        said = own.said(_KEPT_LINES)
        (folder / f"{own.name}{process and f'-{process}'}.log").write_text(said, encoding="utf-8")
    return folder


def _elsewhere(name: str) -> str | None:
    return os.environ.get(f"PLAYHEAD_TEST_{name.replace('-', '_').upper()}_URL")


def _own(name: str) -> str:
    try:
        own = fresh(name)
    except Missing:
        if name != "rabbitmq":
            raise
        return rabbitmq.running()
    atexit.register(own.close)
    _shared.append(own)
    return own.url
