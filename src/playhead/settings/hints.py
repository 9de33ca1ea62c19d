"""What a command says about settings that an operator may have meant otherwise."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from playhead import clientkeys, project
from playhead.settings import Settings
from playhead.settings.values import PREFIX

_OF_KUBERNETES: Final = re.compile(r"(^|_)SERVICE_(HOST|PORT)(_|$)|(^|_)PORT_\d+_(TCP|UDP)(_|$)")


def home_of_parent(settings: Settings) -> str | None:
    """Return a note if the home is that of a parent folder, because no setting names another."""
    folder = project.find()
    if PREFIX + "HOME" in os.environ or folder == Path() or settings.home != folder / project.HOME:
        return None
    return f"Using the home of a parent folder: {settings.home}"


def ignored() -> list[str]:
    """Return a warning for each variable and file that looks like settings and is ignored.

    A variable that is not a setting is not an error: it may be meant for another version or program.
    """
    fields = Settings.model_fields
    said = []
    with suppress(OSError):
        if project.is_foreign(file := project.find() / project.FILE):
            said.append(f"{file.absolute()} is ignored: another user owns it")
    for variable, value in sorted(os.environ.items()):
        name = variable.removeprefix(PREFIX)
        if name == variable or variable in clientkeys.VARIABLES:
            continue
        if name.lower() in fields or _is_of_others(name, value):
            continue
        near = get_close_matches(name.lower(), fields, n=1)
        hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else "no setting has that name"
        said.append(f"{variable} has no effect: {hint}")
    return said


def _is_of_others(name: str, value: str) -> bool:
    """Whether the tests use a variable, or Kubernetes sets it for a service named playhead."""
    return (
        name.startswith("TEST_")
        or value.startswith(("tcp://", "udp://"))
        or _OF_KUBERNETES.search(name) is not None
    )
