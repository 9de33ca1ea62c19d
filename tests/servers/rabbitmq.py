"""A RabbitMQ node of the tests' own, from the package of the system: there is no wheel of it.

The package's commands insist on its own user and folders. The scripts below them do not: with every path
in the environment a node runs as whoever starts it, beside the one that the system may be running.
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
    """One node with the user guest; its durable queues outlive `kill` once they are written down."""

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
            # Seen now and then: the port between nodes is taken in the moment between look and use.
            self._between_nodes = free_port()
            super().start()

    def command(self) -> Sequence[str]:
        # The daemon that knows nodes by name is the node's own, and dies with it: the one that a node
        # starts by itself stays for ever.
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
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "LC_ALL": "C.UTF-8",
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return {"cwd": self.folder, "env": kept | {name: str(value) for name, value in own.items()}}

    def answers(self) -> bool:
        # Its port opens last; the first frame on it is Connection.Start, on channel 0.
        return greeting(self.port, AMQP).startswith(b"\x01\0\0")

    def write_down(self) -> None:
        """See to it that what queues there are outlives `kill`.

        By itself a node writes that down every half second or so (`names.dets` of the library ra). A queue
        that `kill -9` takes before that comes back empty, confirmed or not.
        """
        self.control("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def control(self, *words: str) -> str:
        """What `rabbitmqctl` answers. Takes a second or two, and minutes on a machine that is busy.

        Raises:
            subprocess.CalledProcessError: it refused; its words are in `stderr`.
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
    """The folder of the scripts that run as anybody.

    Raises:
        Missing: no RabbitMQ is installed.
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
    """The URL of a RabbitMQ that this machine runs by itself.

    Raises:
        Missing: none answers on the usual port.
    """
    try:
        if greeting(5672, AMQP).startswith(b"\x01\0\0"):
            return "amqp://guest:guest@127.0.0.1:5672/"
    except OSError:
        pass
    raise Missing("rabbitmq", "not found", REMEDY)
