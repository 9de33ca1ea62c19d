"""A RabbitMQ node for the tests, from the system package: there is no wheel of RabbitMQ.

The commands in the PATH require the package's own user and folders. The scripts behind them do not: if every
path is set in the environment, a node runs as the current user, next to a node of the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.servers.process import DidNotStart, Missing, Server, free_port, greeting

AMQP: Final = b"AMQP\0\0\x09\x01"
REMEDY: Final = "apt-get install rabbitmq-server, or set PLAYHEAD_TEST_RABBITMQ_URL"


class RabbitMq(Server):
    """One node with the user guest. Its durable queues survive `kill` once they are on disk."""

    name: ClassVar[str] = "rabbitmq"

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self._between_nodes, self._names_port = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def prepare(self) -> None:
        self._scripts = scripts()
        for folder in ("data", "logs", "home"):
            (self.folder / folder).mkdir()
        (self.folder / "none.conf").touch()
        (self.folder / "plugins").write_text("[].\n", encoding="ascii")

    def start(self) -> None:
        try:
            super().start()
        except DidNotStart:
            # Seen occasionally: another process takes the inter-node port between the check and its use.
            self._between_nodes = free_port()
            super().start()

    def command(self) -> Sequence[str]:
        # The name daemon (epmd) runs as a child of the node and dies with it. An epmd that the node starts
        # itself would stay running.
        return [
            "/bin/sh",
            "-c",
            'epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & exec "$0" "$@"',
            str(self._scripts / "rabbitmq-server"),
        ]

    def options(self) -> dict[str, Any]:
        own = {
            "HOME": self.folder / "home",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": self._names_port,
            "RABBITMQ_NODENAME": f"playhead{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self._between_nodes,
            "RABBITMQ_BASE": self.folder,
            "RABBITMQ_MNESIA_BASE": self.folder / "data",
            "RABBITMQ_LOG_BASE": self.folder / "logs",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": self.folder / "none.conf",
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq",
            "RABBITMQ_CONFIG_FILES": self.folder / "conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": self.folder / "advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "plugins",
            "RABBITMQ_PID_FILE": self.folder / "pid",
            # Its schedulers sleep when they have no work, because the tests need the processors.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            " +sbwt none +sbwtdcpu none +sbwtdio none",
            "LC_ALL": "C.UTF-8",
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return {"cwd": self.folder, "env": kept | {name: str(value) for name, value in own.items()}}

    def answers(self) -> bool:
        # The port opens last. Its first frame is Connection.Start, on channel 0.
        return greeting(self.port, AMQP).startswith(b"\x01\0\0")

    def write_down(self) -> None:
        """Write the existing queues to disk, so that they survive `kill`.

        Without this call a node writes them about every half second (`names.dets` of the library ra). After a
        `kill -9` before that, a queue comes back empty, even if its messages were confirmed.
        """
        self.control("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def control(self, *words: str) -> str:
        """Return the output of `rabbitmqctl`. It takes a second or two, and minutes on a busy machine.

        Raises:
            subprocess.CalledProcessError: it failed; `stderr` has its message.
        """
        answer = subprocess.run(
            [self._scripts / "rabbitmqctl", "--quiet", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=180.0,
            **self.options(),
        )
        return str(answer.stdout)


def scripts() -> Path:
    """Return the folder of the scripts that run as any user.

    Raises:
        Missing: RabbitMQ is not installed.
    """
    for place in [
        Path("/usr/lib/rabbitmq/bin"),
        *sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")),
        *sorted(Path("/opt/rabbitmq").glob("sbin")),
    ]:
        if (place / "rabbitmq-server").exists() and shutil.which("epmd"):
            return place
    raise Missing("rabbitmq", "not found", REMEDY)


def running() -> str:
    """Return the URL of a RabbitMQ that already runs on this machine.

    Raises:
        Missing: no node answers on the default port.
    """
    try:
        if greeting(5672, AMQP).startswith(b"\x01\0\0"):
            return "amqp://guest:guest@127.0.0.1:5672/"
    except OSError:
        pass
    raise Missing("rabbitmq", "not found", REMEDY)
