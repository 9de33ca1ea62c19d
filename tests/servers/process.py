"""A server as a process of the test's own: started, killed, paused, started again on its port and data.

Nothing outlives the tests, however they end: each server has a guardian, a shell that waits at the other
end of a pipe. A pipe closes when its owner dies, of `kill -9` too, and then the guardian kills the server
and removes its files. (`PR_SET_PDEATHSIG` would do it when the *thread* that started the server ends.)
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

# Reads what to kill, a line each time that changes; the end of the input is the end of the tests.
_GUARDIAN: Final = (
    'while read -r line; do last=$line; done; [ -n "$last" ] && kill -KILL $last 2>/dev/null; rm -rf "$0"'
)
# Below the range from which systems give out ports by themselves (32768 on Linux, 49152 elsewhere): a
# server that is down keeps its port, as nobody's outgoing connection lands on it.
_PORTS: Final = range(20_000, 32_000)
# A port that was given out is not given out again, by this process or another, while its server is being
# started, or is down. What says so is a socket of UDP, which no server here wants, on the same port: it goes
# with its process.
_given: Final[deque[socket.socket]] = deque()
_MOST_GIVEN: Final = 200


class Missing(Exception):
    """A server can't be had on this machine.

    Attributes:
        name: the server.
        why: what is not there.
        remedy: what brings it; a command where there is one.
    """

    def __init__(self, name: str, why: str, remedy: str) -> None:
        super().__init__(f"{name}: {why}; {remedy}")
        self.name = name
        self.why = why
        self.remedy = remedy


class DidNotStart(Exception):
    """A server is installed but does not come up; the words are the end of its log."""


class Server:
    """One server on 127.0.0.1, with a port and a folder of its own.

    Made by `fresh`, which starts it. Used as a context, it is gone, data and all, when the block ends.
    None of the methods needs an event loop; `start` and `stop` block until it is done.

    Attributes:
        name: what `server` and `fresh` call it.
        port: stays the same for as long as the object lives.
        folder: holds its data, and `log`, what it said.
    """

    name: ClassVar[str]
    #: The signal that asks it to end in good order.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"playhead-{self.name}-"))
        self.log = self.folder / "log"
        self._paused: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        # Data of a server that runs as another user lies below.
        self.folder.chmod(0o711)

    # -- what each kind says of itself ---------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it is, as Playhead's settings want it."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """What starts it, in the foreground."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """How `subprocess` is to start it: `env`, `user`, `cwd`."""
        return {"cwd": self.folder}

    def prepare(self) -> None:
        """Once, before the first start."""

    def answers(self) -> bool:
        """Whether it can be worked with; asked until it is so. Raises `OSError` while nobody listens."""
        raise NotImplementedError

    def ready(self) -> None:
        """After each start, when it answers."""

    # -- what tests do to it -------------------------------------------------------------------------

    def start(self) -> None:
        """Starts it, the next time with the port and data of the first. Returns when it can be worked with.

        Raises:
            DidNotStart: it ended, or was silent for three minutes.
        """
        if self.running:
            return
        if self._guardian is None:
            self._guardian = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDIAN, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
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
        """`kill -9` of all its processes at once; its data stay. Returns when they are gone."""
        if self._process is None:
            return
        doomed = self.processes()
        for pid in doomed:
            _signal(pid, signal.SIGKILL)
        self._gone(doomed)

    def stop(self) -> None:
        """Ends it in good order; its data stay. Killed when that takes longer than a minute."""
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
        """Stands it still with all its processes: connections stay open and nobody answers (SIGSTOP).

        Returns when all have stopped: a signal is sent at once and heeded a moment later.
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
        """Lets it go on after `pause`; does nothing otherwise."""
        for pid in self._paused:
            _signal(pid, signal.SIGCONT)
        self._paused = []
        self._tell_guardian()

    def close(self) -> None:
        """Kills it and removes its data. May be called twice."""
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
        """The end of its log."""
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
        """Its processes, parents first. Some put their children into sessions of their own, so that the
        process group does not name them all."""
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


def free_port() -> int:
    """A port on 127.0.0.1 on which nobody listens, and which nobody else was given."""
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
    """The first bytes that a server sends, after `say`; raises `OSError` when nobody listens."""
    with socket.create_connection((host, port), timeout=2.0) as connection:
        if say:
            connection.sendall(say)
        return connection.recv(4096)


def _processes() -> list[tuple[int, int]]:
    """(pid, parent) of every process of this machine."""
    if Path("/proc/self/stat").exists():  # a bare Debian has no `ps`
        return list(_from_proc())
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True)
    return [(int(pid), int(parent)) for pid, parent in map(str.split, shown.stdout.splitlines())]


def _from_proc() -> Iterator[tuple[int, int]]:
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                # The name, in brackets, may hold anything; the parent stands two fields behind it.
                yield int(place.name), int((place / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue


def _signal(pid: int, which: signal.Signals) -> None:
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        pass


def _still(pid: int) -> bool:
    """Whether every thread of a process has stopped, or it is gone; taken for granted without /proc."""
    try:
        threads = [place.read_text() for place in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return not alive(pid)
    return all(text.rpartition(")")[2].split()[0] in "TtZX" for text in threads)


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # An orphan that is dead but that nobody has waited for is gone as far as ports and files go.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()
