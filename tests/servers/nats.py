"""nats-server with JetStream, from a wheel or from the PATH: one, or a cluster of three."""

from __future__ import annotations

import shutil
import socket
import sysconfig
import time
from collections.abc import Sequence
from typing import ClassVar

from tests.servers.process import (
    START_SECONDS,
    DidNotStart,
    Missing,
    Server,
    free_port,
    greeting,
)


class Nats(Server):
    """One server with file storage: its streams survive `kill`."""

    name: ClassVar[str] = "nats"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self._binary = binary()

    def command(self) -> Sequence[str]:
        data = str(self.folder / "data")
        return [self._binary, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", data]

    def answers(self) -> bool:
        # The port opens after JetStream has read its streams.
        return b'"jetstream":true' in greeting(self.port)


class NatsThree(Server):
    """A cluster of three. Its methods act on all members; `members` has each of them.

    Its URL asks for three replicas of each stream, so a confirmed message is on at least two servers.
    """

    name: ClassVar[str] = "nats-three"

    def __init__(self, *arguments: str) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
        self.members = [
            Nats(
                *("--server_name", f"n{number}", "--cluster_name", "three"),
                *("--cluster", f"nats://127.0.0.1:{port}", "--routes", routes),
                *arguments,
            )
            for number, port in enumerate(ports)
        ]
        self.arguments = arguments
        # Each member has its own port, folder and guardian.
        self.port, self.folder, self.log = self.members[0].port, self.members[0].folder, self.members[0].log

    @property
    def url(self) -> str:
        return f"nats://{','.join(f'127.0.0.1:{member.port}' for member in self.members)}?replicas=3"

    def named(self, name: str) -> Nats:
        """Return the member with this name in the cluster: n0, n1, n2."""
        return self.members[int(name.removeprefix("n"))]

    def start(self) -> None:
        for member in self.members:
            member.start()
        self.wait_for_leader()

    def wait_for_leader(self) -> None:
        """Return when every running member knows a leader that answers.

        Raises:
            DidNotStart: the cluster had no leader for three minutes.
        """
        deadline = time.monotonic() + START_SECONDS
        while not all(_is_led(member) for member in self.members if member.running):
            if time.monotonic() > deadline:
                raise DidNotStart(f"{self.name} has no leader. The end of a log:\n{self.said()}")
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        return all(member.running for member in self.members)

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def pause(self) -> None:
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        for member in self.members:
            member.resume()

    def close(self) -> None:
        for member in self.members:
            member.close()

    def processes(self) -> list[int]:
        return [pid for member in self.members for pid in member.processes()]

    def said(self, lines: int = 20) -> str:
        return "\n".join(f"{number}: {member.said(lines)}" for number, member in enumerate(self.members))


def _is_led(server: Nats) -> bool:
    """Return whether JetStream answers a client of this server."""
    ask = (
        b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
        b"SUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=1.0) as connection:
            connection.sendall(ask)
            said = b""
            while b"MSG answer" not in said or not said.endswith(b"\r\n"):
                if not (more := connection.recv(65_536)):
                    return False
                said += more
    except OSError:
        return False
    return b'"error"' not in said and b" 503" not in said


def binary() -> str:
    """Return the path of nats-server.

    Raises:
        Missing: neither a wheel nor a system package provides it.
    """
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("nats-server", path=scripts) or shutil.which("nats-server")
    if found is None:
        raise Missing(
            "nats",
            "nats-server is not installed, and its wheel does not exist for this system",
            "install nats-server 2.12 or newer into the PATH, or set PLAYHEAD_TEST_NATS_URL",
        )
    return found
