"""The virtual environment of cocoindex, below `build/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

from bench.machine import report

_REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
_BUILD: Final = Path(__file__).parents[2] / "build/peers"


def cocoindex() -> Path | None:
    """Return the command `cocoindex`, installed with the versions of `requirements.txt`.

    Return None if it cannot be installed, after a report of the reason.
    """
    wanted = sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = _BUILD / f"cocoindex-{wanted}"
    complete = venv / "complete"
    if not complete.exists():
        report(f"cocoindex: installing it into {venv}, about half a minute …")
        shutil.rmtree(venv, ignore_errors=True)
        install = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", str(venv)],
            [*install, "--require-hashes", "--only-binary", ":all:", "-r", str(_REQUIREMENTS)],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr or done.stdout).strip().rpartition("\n")[2]
                report(f"cocoindex: NOT MEASURED, it cannot be installed: {reason}")
                return None
        complete.touch()
    return venv / "bin/cocoindex"
