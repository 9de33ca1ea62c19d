"""Small file systems that can be filled, emptied and made read-only, seen by a deployment's processes alone.

They are mounted in a mount namespace of their own, which is gone with the last process in it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.acceptance.processes import SETTINGS, STEPS, Deployment, deployment_folder, outside, variables
from tests.servers import absent
from tests.servers.process import Missing
from tests.stored import stored

_MOUNT = 'mount -t tmpfs -o "size=$2" tmpfs "$1" && echo mounted && exec cat'


@dataclass
class Disk:
    """A small file system, mounted at `at` in the namespaces of process `pid`."""

    at: Path
    pid: int
    namespaces: tuple[str, ...]

    @property
    def seen(self) -> Path:
        """Where this process sees it."""
        return Path(f"/proc/{self.pid}/root{self.at}")

    def fill(self, *, leave: int = 0) -> None:
        """Take all room but some bytes."""
        with (self.seen / "ballast").open("ab", buffering=0) as ballast:
            while (free := self._free() - leave) > 0:
                try:
                    ballast.write(b"\0" * min(free, 1 << 16))
                except OSError:
                    return

    def make_room(self) -> None:
        (self.seen / "ballast").unlink()

    def _free(self) -> int:
        status = os.statvfs(self.seen)
        return status.f_bavail * status.f_frsize

    def remount(self, mode: str) -> None:
        """`ro` or `rw`; nothing may be open for writing there."""
        enter = [
            "nsenter",
            *(f"--{Path(file).name.replace('mnt', 'mount')}={file}" for file in self.namespaces),
        ]
        if len(self.namespaces) > 1:
            enter.append("--preserve-credentials")
        subprocess.run([*enter, "mount", "-o", f"remount,{mode}", str(self.at)], check=True)


class DiskDeployment(Deployment):
    """A deployment whose processes see a disk; what lies on it is read from outside their namespace."""

    disk: Disk

    def _outside(self, path: Path) -> Path:
        below = path.is_relative_to(self.disk.at)
        return self.disk.seen / path.relative_to(self.disk.at) if below else path

    @property
    def home(self) -> Path:
        return self._outside(self.folder / "home")

    @property
    def objects(self) -> Path:
        return self._outside(self.folder / "home" / "objects")

    @property
    def data(self) -> Path:
        return self._outside(self.folder / "home" / "data")

    @property
    def catalog(self) -> Path:
        small = self.folder / "catalog"
        return self._outside(small if self.disk.at == small else self.folder / "home") / "playhead.db"

    def _copied(self, database: Path, to: Path) -> bool:
        """Copy a database with its log; False when one of them has changed before the other was copied, as
        when the log is written back: together they would be no state there ever was."""
        files = {f"{database.name}{end}": Path(f"{database}{end}") for end in ("", "-wal")}

        def state() -> dict[str, tuple[int, int]]:
            found = {name: path.stat() for name, path in files.items() if path.exists()}
            return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}

        before = state()
        for name in files:
            (to / name).unlink(missing_ok=True)
            if name in before:
                shutil.copyfile(files[name], to / name)
        return state() == before

    def rows(self, sql: str, *values: object) -> list[Any]:
        plain = [value.bytes if isinstance(value, UUID) else value for value in values]
        with tempfile.TemporaryDirectory() as copy:
            # SQLite resolves the links of /proc, which lead to nowhere.
            self.until(lambda: self._copied(self.catalog, Path(copy)), "a moment without writes")
            with closing(sqlite3.connect(f"{copy}/playhead.db")) as con:
                con.row_factory = sqlite3.Row
                return con.execute(sql, plain).fetchall()

    def stored(self, execution: str) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder)
            self.until(lambda: self._copied(self.objects / ".objects.db", copy), "a moment without writes")
            if (self.objects / execution).exists():
                shutil.copytree(self.objects / execution, copy / execution)
            return stored(copy, execution)


@contextmanager
def open_disk_deployment(
    at: str, size: str, *, adapters: str = str(STEPS), **settings: str
) -> Iterator[DiskDeployment]:
    """A deployment of which one folder is a disk of its own. Skips the test where nothing can be mounted.

    Args:
        at: `home`, `home/objects`, `home/data`, `temporary`, or `catalog`, where catalog and broker then are.
        size: as `mount` takes it.
        adapters: files of steps.
        settings: over `SETTINGS`, named like those.
    """
    with deployment_folder() as folder:
        place = folder / at
        place.mkdir(parents=True)
        # A step here has one attempt, and a machine that is busy is no fault: time enough to beat.
        beat = {"HEARTBEAT_SECONDS": "0.4"}
        own = {"HOME": str(folder / "home"), "ADAPTERS": adapters, **SETTINGS, **beat, **settings}
        if at == "catalog":
            own |= dict.fromkeys(("CATALOG", "BROKER"), f"sqlite://{place}/playhead.db")
        with _mounted(place, size) as disk:
            deployment = DiskDeployment(folder, outside() | variables(own), namespaces=disk.namespaces)
            deployment.disk = disk
            try:
                yield deployment
            finally:
                deployment.close()


@contextmanager
def _mounted(place: Path, size: str) -> Iterator[Disk]:
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        absent(Missing("disk", "unshare and nsenter are not there", "apt-get install util-linux"))
    privileged = os.geteuid() == 0
    user = [] if privileged else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "sh", "-c", _MOUNT, "sh", str(place), size]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stderr
        try:
            if holder.stdout.readline() != "mounted\n":
                why = f"a file system can't be mounted here ({holder.stderr.read().strip()})"
                absent(Missing("disk", why, "run the tests as root, or where user namespaces are allowed"))
            names = ("mnt",) if privileged else ("user", "mnt")
            yield Disk(place, holder.pid, tuple(f"/proc/{holder.pid}/ns/{name}" for name in names))
        finally:
            holder.stdin.close()
