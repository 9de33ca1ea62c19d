"""Shared by the tests of the deployment files: the tools that check them, and Playhead's settings."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from playhead.model import Route
from playhead.settings import Settings
from playhead.settings.values import PREFIX
from tests import program as started
from tests.servers import Missing, absent

ROOT: Final = Path(__file__).parents[2]
#: The default time limit of a message.
TIMEOUT_SECONDS: Final = Route("any", "any", ()).timeout_seconds


def tool(name: str) -> str:
    """Return the path of a tool of the group `deploy`; if it is missing, skip the test, or fail it."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        absent(Missing("deploy", f"{name} is not installed", "make test-deploy"))
    return found


def program(name: str, package: str) -> str:
    """Return the path of a program of the system.

    Raises:
        Missing: it is not installed.
    """
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise Missing(name, f"{name} is not installed", f"apt-get install {package}")
    return found


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def is_setting(variable: str) -> bool:
    """Return whether Playhead reads this variable."""
    return variable.removeprefix(PREFIX).lower() in Settings.model_fields


def parses(arguments: Sequence[str]) -> bool:
    """Return whether the command line accepts these arguments. Nothing is started."""
    return started.run([*arguments, "--help"], cwd=ROOT, env=os.environ).returncode == 0


def status(port: int, path: str) -> int | None:
    """Wait up to two minutes for 200 from a server on this machine; return the last status, or None."""
    last: int | None = None
    until = time.monotonic() + 120
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            last = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            last = None
        finally:
            connection.close()
        if last == 200:
            break
        time.sleep(0.05)
    return last
