"""The install command in error messages."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

from playhead.extras import install_command

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_install_command_of_an_extra_needs_no_package_index_with_playhead():
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    for extra in sorted(extras.keys() - {"production"}):
        pip, install, *libraries = shlex.split(install_command(extra))
        assert (pip, install) == ("pip", "install")
        assert sorted(map(_parts, libraries)) == sorted(map(_parts, extras[extra]))


def _parts(requirement: str) -> list[str]:
    """Return the parts of a requirement: build tools write its limits in another order."""
    return sorted(requirement.replace(">", ",>").replace("<", ",<").replace(",,", ",").split(","))
