"""What the tests of the deployment files share: the tools that check them, and the settings there are."""

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
from playhead.settings import PREFIX, Settings
from tests.servers import Missing, absent

ROOT: Final = Path(__file__).parents[2]
#: How long a message may take where its config does not say.
TIMEOUT_SECONDS: Final = Route("any", "any", ()).timeout_seconds


def tool(name: str) -> str:
    """Where a tool of the dependency group `deploy` is; without it the test is skipped, or fails."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        absent(Missing("deploy", f"{name} is not installed", "make test-deploy"))
    return found


def program(name: str, package: str) -> str:
    """Where a program of the system is.

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
    """Whether a variable of Playhead's is one that it reads."""
    return variable.removeprefix(PREFIX).lower() in Settings.model_fields


def parses(arguments: Sequence[str]) -> bool:
    """Whether the command line knows what stands here. Nothing is started."""
    said = run(f"{sysconfig.get_path('scripts')}/playhead", *arguments, "--help")
    return said.returncode == 0


def status(port: int, path: str) -> int | None:
    """200 as soon as a server on this machine answers so; what it answered last, or None, when it has not
    after two minutes."""
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
