"""A server as a process that a test starts, kills, pauses, and starts again with the same port and data.

However the tests end, no server and no file stays behind. Each server has a guardian: a shell that reads from
a pipe. The pipe closes when the process of the tests dies, also by `kill -9`. Then the guardian kills the
server and removes its files. (`PR_SET_PDEATHSIG` would act when the *thread* that started the server ends.)
The guardian of a server that all processes of a run share waits until a second pipe has closed, too: that of
the process that started the others.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Final

START_SECONDS: Final = 180.0
STOP_SECONDS: Final = 60.0

# Reads the pids to kill, one line per change. The input ends when the tests end. Descriptor 1 is `until`.
_GUARDIAN: Final = (
    "while read -r line; do last=$line; done; cat <&1 >&2;"
    ' [ -n "$last" ] && kill -KILL $last 2>/dev/null; rm -rf "$0"'
)
# Below the range of ephemeral ports (from 32768 on Linux, 49152 elsewhere). While a server is down, no
# outgoing connection can take its port.
_PORTS: Final = range(20_000, 32_000)
# Each port is reserved while its server starts or is down, for all processes of the tests. The reservation is
# a UDP socket on the same number, which no server here uses; it closes when its process ends.
_given: Final[deque[socket.socket]] = deque()
_MOST_GIVEN: Final = 200


class Missing(Exception):
    """A server is not available on this machine.

    Attributes:
        name: the server.
        why: what is missing.
        remedy: how to install it, as a command if there is one.
    """

    def __init__(self, name: str, why: str, remedy: str) -> None:
        super().__init__(f"{name}: {why}; {remedy}")
        self.name = name
        self.why = why
        self.remedy = remedy


class DidNotStart(Exception):
    """A server is installed but does not start. The text has the end of its log."""


class Server:
    """One server on 127.0.0.1, with its own port and folder.

    `fresh` creates and starts it. As a context manager it removes the server and its data at the end of the
    block. The methods need no event loop; `start` and `stop` block until they are done.

    Attributes:
        name: its name for `server` and `fresh`.
        port: the same for the lifetime of the object.
        folder: its data, and its output in `log`.
        until: a descriptor; the server lives at least until reading from it reaches its end.
    """

    name: ClassVar[str]
    #: The signal for a clean shutdown.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"playhead-{self.name}-"))
        self.log = self.folder / "log"
        self.until = subprocess.DEVNULL
        self._paused: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        # A server that runs as another user has its data below.
        self.folder.chmod(0o711)

    # -- defined by each kind of server --------------------------------------------------------------

    @property
    def url(self) -> str:
        """Its URL, in the form of Playhead's settings."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """Return the command that runs it in the foreground."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Return arguments for `subprocess`: `env`, `user`, `cwd`."""
        return {"cwd": self.folder}

    def prepare(self) -> None:
        """Prepare its data. Called once, before the first start."""

    def answers(self) -> bool:
        """Return whether it is ready; called until it is. Raises `OSError` while its port is closed."""
        raise NotImplementedError

    def ready(self) -> None:
        """Called after each start, when it answers."""

    # -- for tests -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, each time with the same port and data. Return when it is ready.

        Raises:
            DidNotStart: it ended, or did not answer for three minutes.
        """
        if self.running:
            return
        if self._guardian is None:
            self._guardian = guard(self.folder, self.until)
            self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen[bytes](
                [*self.command(), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.options(),
            )
        self._tell_guardian()
        self._wait()
        self.ready()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL to all its processes and return when they have ended. Its data stay."""
        if self._process is None:
            return
        doomed = self.processes()
        for pid in doomed:
            _signal(pid, signal.SIGKILL)
        self._gone(doomed)

    def stop(self) -> None:
        """Shut it down cleanly, or kill it after a minute. Its data stay."""
        if self._process is None or not self.running:
            return
        self.resume()
        doomed = self.processes()
        self.ask_to_stop(self._process)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        for pid in doomed:
            _signal(pid, signal.SIGKILL)
        self._gone(doomed)

    def ask_to_stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(self.stop_signal)

    def pause(self) -> None:
        """Suspend all its processes (SIGSTOP): connections stay open, but requests get no answer.

        Returns when all are suspended, which may be a moment after the signal.
        """
        if self._process is None:
            return
        self._paused = self.processes()
        self._tell_guardian()
        for pid in self._paused:
            _signal(pid, signal.SIGSTOP)
        deadline = time.monotonic() + STOP_SECONDS
        while not all(map(_still, self._paused)) and time.monotonic() < deadline:
            time.sleep(0.002)

    def resume(self) -> None:
        """Continue after `pause`; otherwise do nothing."""
        for pid in self._paused:
            _signal(pid, signal.SIGCONT)
        self._paused = []
        self._tell_guardian()

    def close(self) -> None:
        """Kill it and remove its data. May be called twice."""
        self.kill()
        if self._guardian is not None:
            assert self._guardian.stdin is not None
            self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def said(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    # -- inside --------------------------------------------------------------------------------------

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.answers():
                    return
            except OSError:
                pass
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        ended = f"ended with {self._process.poll()}" if not self.running else "did not answer in time"
        said = self.said()
        self.kill()
        raise DidNotStart(f"{self.name} {ended}. The end of its log:\n{said}")

    def processes(self) -> list[int]:
        """Return its processes, parents first.

        The process group is not enough: some servers start children in other sessions.
        """
        assert self._process is not None
        parents: dict[int, list[int]] = {}
        for pid, parent in _processes():
            parents.setdefault(parent, []).append(pid)
        found = [self._process.pid]
        for pid in found:
            found.extend(parents.get(pid, []))
        return found

    def _gone(self, pids: list[int]) -> None:
        assert self._process is not None
        self._process.wait()
        deadline = time.monotonic() + STOP_SECONDS
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.002)
        self._process = None
        self._paused = []
        self._tell_guardian()

    def _tell_guardian(self) -> None:
        if self._guardian is None:
            return
        line = f"-{self._process.pid} {' '.join(map(str, self._paused))}" if self._process else ""
        pipe: IO[bytes] | None = self._guardian.stdin
        assert pipe is not None
        pipe.write(line.encode() + b"\n")
        pipe.flush()


def guard(folder: Path, until: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start the guardian that removes a folder when its stdin closes, also by the death of this process."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _GUARDIAN, str(folder)],
        stdin=subprocess.PIPE,
        stdout=until,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def free_port() -> int:
    """Return a free port of 127.0.0.1 that no other caller gets."""
    for _ in range(1000):
        port = random.choice(_PORTS)
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _given.append(claim)
        while len(_given) > _MOST_GIVEN:
            _given.popleft().close()
        return port
    raise RuntimeError("no free port on 127.0.0.1")


def greeting(port: int, say: bytes = b"", *, host: str = "127.0.0.1") -> bytes:
    """Send `say` and return the first bytes of the answer. Raises `OSError` if the port is closed."""
    with socket.create_connection((host, port), timeout=2.0) as connection:
        if say:
            connection.sendall(say)
        return connection.recv(4096)


def _processes() -> list[tuple[int, int]]:
    """Yield (pid, parent's pid) of every process of this machine."""
    if Path("/proc/self/stat").exists():  # a bare Debian has no `ps`
        return list(_from_proc())
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True)
    return [(int(pid), int(parent)) for pid, parent in map(str.split, shown.stdout.splitlines())]


def _from_proc() -> Iterator[tuple[int, int]]:
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                # The name in parentheses may contain any character. The parent is the second field after it.
                yield int(place.name), int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue


def _signal(pid: int, which: signal.Signals) -> None:
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        pass


def _still(pid: int) -> bool:
    """Return whether every thread of a process is stopped or has ended; without /proc, always true."""
    try:
        threads = [place.read_text() for place in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return not alive(pid)
    return all(text.rpartition(")")[2].split()[0] in "TtZX" for text in threads)


def alive(pid: int) -> bool:
    """Return whether a process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A zombie holds no ports and no files.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()
