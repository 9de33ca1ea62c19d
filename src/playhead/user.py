"""The user of this process, by the names of the operating system."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cache


@cache
def local_user() -> str:
    """Return `USER@HOST`. It is what the system says, and proves nothing to another machine."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container with a user id that has no name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
