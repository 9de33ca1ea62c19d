"""Run a command with the servers of the tests in its settings. They are removed when it ends.

    python -m tests.servers nats -- playhead demo --backends

The store is S3 and the catalog PostgreSQL. The broker is `nats`, `nats-three` (a cluster), `rabbitmq`, or
`postgres` (the same server as the catalog).
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.servers import DidNotStart, Missing, server

_USAGE = "python -m tests.servers nats|nats-three|rabbitmq|postgres -- COMMAND…"


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code; 2 if the arguments are invalid."""
    match arguments:
        case ["nats" | "nats-three" | "rabbitmq" | "postgres" as broker, "--", *command] if command:
            pass
        case _:
            sys.stderr.write(f"usage: {_USAGE}\n")
            return 2
    names = {"PLAYHEAD_STORE": "s3", "PLAYHEAD_BROKER": broker, "PLAYHEAD_CATALOG": "postgres"}
    try:
        # The S3 server has put its credentials into the environment of this process.
        settings = {variable: server(name) for variable, name in names.items()}
    except (Missing, DidNotStart) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    for variable, url in settings.items():
        sys.stderr.write(f"{variable}={url}\n")
    sys.stderr.flush()
    try:
        return subprocess.run(command, env={**os.environ, **settings}, check=False).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        sys.stderr.write("The servers are stopped and their data is removed.\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
