"""Real servers for the tests. Each starts when it is first needed and is removed when the tests end.

    url = need("nats")              # in a test: its URL; without it the test is skipped, or fails
    with fresh("postgres") as own:  # a server to kill, stop, pause, resume and start again

Names: postgres, nats, nats-three, s3, s3-moto, rabbitmq, oidc. `server` and `need` use a running server if
`PLAYHEAD_TEST_POSTGRES_URL`, `…_NATS_URL`, `…_S3_URL` or `…_RABBITMQ_URL` names one.
`PLAYHEAD_TEST_REQUIRE` is a comma-separated list of servers: tests fail without them, and are not skipped.
Each process of pytest-xdist has its own servers, except RabbitMQ, whose start takes seconds.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Never

import pytest

from tests.servers import rabbitmq
from tests.servers.nats import Nats, NatsThree
from tests.servers.oidc import Oidc
from tests.servers.postgres import Postgres
from tests.servers.process import DidNotStart, Missing, Server, guard
from tests.servers.rabbitmq import RabbitMq
from tests.servers.s3 import Moto, Rclone

__all__ = [
    "SERVERS",
    "DidNotStart",
    "Missing",
    "Server",
    "absent",
    "close",
    "fresh",
    "need",
    "need_fresh",
    "server",
]

SERVERS: Final[Mapping[str, type[Server]]] = {
    kind.name: kind for kind in (Postgres, Nats, NatsThree, Rclone, Moto, RabbitMq, Oidc)
}
#: Valid names in `PLAYHEAD_TEST_REQUIRE`.
REQUIRABLE: Final = (
    "postgres",
    "nats",
    "s3",
    "rabbitmq",
    "oidc",
    "nginx",
    "browser",
    "deploy",
    "docs",
    "disk",
)

_KEPT_LINES: Final = 100_000

_OF_ALL_PROCESSES: Final = ("rabbitmq",)
_RUN: Final = "PLAYHEAD_TEST_RUN"
"""The variable with the folder that the processes of a run share."""

_guardians: Final[list[subprocess.Popen[bytes]]] = []
_starting: Final = threading.Lock()
_urls: dict[str, str] = {}
_shared: list[Server] = []
_missing: dict[str, Missing] = {}
#: The number of tests skipped for each missing server.
skipped: dict[str, int] = {}


def server(name: str) -> str:
    """Return the URL of the server that all tests of this process share. The first call starts it.

    Raises:
        Missing: it is not available on this machine.
        DidNotStart: it is installed but does not start.
    """
    with _starting:
        if name in _missing:
            raise _missing[name]
        if name not in _urls:
            try:
                _urls[name] = _elsewhere(name) or _own(name)
            except Missing as exc:
                _missing[name] = exc
                raise
        return _urls[name]


def begin_run() -> None:
    """Let the processes that this one starts share servers, which are removed when this one ends."""
    if _RUN in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="playhead-run-"))
    os.mkfifo(folder / "alive")
    os.open(folder / "alive", os.O_RDWR)  # open until this process ends
    os.environ[_RUN] = str(folder)
    _guardians.append(guard(folder))


def close(name: str) -> None:
    """End the server that all tests of this process share, because an idle one takes time from the others.

    The next call of `server` starts another one.
    """
    for own in [own for own in _shared if own.name == name]:
        own.close()
        _shared.remove(own)
        del _urls[name]


def fresh(name: str, *arguments: str) -> Server:
    """Start a server for the caller alone. It is a context manager that removes the server.

    Args:
        arguments: appended to its command line (nats: `-c file`; postgres: `--max_connections=5`).

    Raises:
        Missing: it cannot be started on this machine. A server that runs elsewhere cannot be killed, so it
            is not used.
        DidNotStart: it is installed but does not start.
    """
    made = SERVERS[name](*arguments)
    try:
        made.start()
    except BaseException:
        made.close()
        raise
    return made


def need(name: str) -> str:
    """Call `server` in a test. If it is missing, skip the test, or fail if it is required."""
    try:
        return server(name)
    except Missing as exc:
        absent(exc)


def need_fresh(name: str, *arguments: str) -> Server:
    """Call `fresh` in a test. If it is missing, skip the test, or fail if it is required."""
    try:
        return fresh(name, *arguments)
    except Missing as exc:
        absent(exc)


def absent(exc: Missing) -> Never:
    """Skip the test because of a missing server, or fail it if `PLAYHEAD_TEST_REQUIRE` names the server."""
    if exc.name.partition("-")[0] in required():
        reason = f"{exc} (PLAYHEAD_TEST_REQUIRE names it)"
        raise pytest.fail.Exception(reason, pytrace=False) from None
    _missing[exc.name] = exc
    skipped[exc.name] = skipped.get(exc.name, 0) + 1
    pytest.skip(str(exc))


def required() -> frozenset[str]:
    """Return the names in `PLAYHEAD_TEST_REQUIRE`.

    Raises:
        pytest.UsageError: a name is unknown. Otherwise a typing error would silently skip tests.
    """
    named = {name.strip() for name in os.environ.get("PLAYHEAD_TEST_REQUIRE", "").split(",")} - {""}
    if unknown := named - set(REQUIRABLE):
        raise pytest.UsageError(
            f"PLAYHEAD_TEST_REQUIRE names {', '.join(sorted(unknown))}; there are {', '.join(REQUIRABLE)}"
        )
    return frozenset(named)


def what_is_missing() -> dict[str, int]:
    """Return the number of skipped tests by reason: the missing server and how to install it."""
    return {str(_missing[name]): count for name, count in sorted(skipped.items())}


def keep_logs(config: pytest.Config) -> Path | None:
    """Copy the logs of the shared servers to pytest's cache, and return that folder."""
    # The attribute is absent without its plugin (`-p no:cacheprovider`).
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
        if name in _OF_ALL_PROCESSES and _RUN in os.environ:
            return shared(name, Path(os.environ[_RUN]))
        own = fresh(name)
    except Missing:
        if name != "rabbitmq":
            raise
        return rabbitmq.running()
    atexit.register(own.close)
    _shared.append(own)
    return own.url


def shared(name: str, folder: Path) -> str:
    """Return the URL of the server of all processes that share this folder. The first call starts it.

    It ends when no process has the pipe `alive` of the folder open for writing.
    """
    address = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            own = SERVERS[name]()
            own.until = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
            os.set_blocking(own.until, True)
            try:
                own.start()
            except BaseException:
                own.close()
                raise
            finally:
                os.close(own.until)
            _shared.append(own)
            address.write_text(own.url, encoding="utf-8")
        return address.read_text(encoding="utf-8")
