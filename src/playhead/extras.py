"""The extras of Playhead: optional libraries, which `pyproject.toml` declares."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, requires


def install_command(extra: str) -> str:
    """Return a command that installs the libraries of an extra.

    It names the libraries themselves, so it holds however Playhead was installed: from a clone, a wheel or a
    package index.
    """
    try:
        declared = requires("playhead") or ()
    except PackageNotFoundError:  # the source is on the path, and nothing is installed
        declared = ()
    parts = [one.replace('"', "'").partition(";") for one in declared]
    libraries = [name.strip() for name, _, marker in parts if f"extra == '{extra}'" in marker]
    return shlex.join(["pip", "install", *(libraries or [f"playhead[{extra}]"])])
