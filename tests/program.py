"""Start `playhead` as a separate process, without the half second that its imports take.

The first call starts a process that imports Playhead and forks for each command. The child gets the
environment, the folder and the streams of the command, and then runs as `python -m playhead ARGUMENTS…` does.
The wheel and the demo are tested with the installed program instead.
"""

from __future__ import annotations

import ast
import atexit
import ctypes
import gc
import importlib
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError as Late
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, TimeoutExpired
from typing import IO, Any, Final

_LENGTH: Final = 8
"""Bytes of a number in a message between the processes."""


class Program:
    """A running `playhead`, with the methods of `subprocess.Popen` that the tests use.

    Attributes:
        stdout: its output, if it goes to a pipe; `stderr` likewise.
        returncode: its exit code, negative after a signal; None until `poll` or `wait` has seen the end.
    """

    def __init__(self, pid: int, status: int, stdout: IO[Any] | None, stderr: IO[Any] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: Any = None
        self._status = os.fdopen(status, "rb", buffering=0)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends and return its exit code.

        Raises:
            TimeoutExpired: it still runs.
        """
        code = self._ended(timeout)
        if code is None:
            raise TimeoutExpired("playhead", timeout or 0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        ended = self.returncode is not None or poll.poll(None if timeout is None else timeout * 1000)
        with self._lock:
            if ended and self.returncode is None:
                self.returncode = int(self._status.read(64))
            code: int | None = self.returncode
        return code

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """Wait until it ends and return its remaining stdout and stderr.

        Raises:
            TimeoutExpired: it still runs.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pool = ThreadPoolExecutor(2)
        reading = [pool.submit(stream.read) if stream else None for stream in (self.stdout, self.stderr)]
        pool.shutdown(wait=False)

        def left() -> float | None:
            return None if end is None else max(0.0, end - time.monotonic())

        def result(of: Future[Any] | None) -> Any:
            return of and of.result(left())

        try:
            out, err = map(result, reading)
        except Late:
            raise TimeoutExpired("playhead", timeout or 0) from None
        self.wait(left())
        for stream in (self.stdout, self.stderr):
            if stream:
                stream.close()
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and its exit code is on its way
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int | IO[Any] = DEVNULL,
    stdout: int | IO[Any] = PIPE,
    stderr: int | IO[Any] = PIPE,
    text: bool = True,
    namespaces: Sequence[str] = (),
    user: int | None = None,
) -> Program:
    """Start `playhead ARGUMENTS…`.

    Args:
        stdin: empty by default.
        namespaces: files of /proc; the process enters them in this order.
        user: its user and group, instead of those of the tests.
    """
    request = {
        "arguments": list(arguments),
        "cwd": str(cwd),
        "env": dict(env),
        "namespaces": list(namespaces),
        "user": user,
    }
    body = repr(request).encode()
    status, of_child = os.pipe()
    with ExitStack() as closing:
        closing.callback(os.close, of_child)
        null = closing.enter_context(open(os.devnull, "r+b", buffering=0)).fileno()
        ours: list[IO[Any] | None] = []
        streams = []
        for given in (stdin, stdout, stderr):
            if given == PIPE:
                end, other = os.pipe()
                closing.callback(os.close, other)
                ours.append(os.fdopen(end, encoding="utf-8") if text else os.fdopen(end, "rb"))
            else:
                other = null if given == DEVNULL else given if isinstance(given, int) else given.fileno()
                ours.append(None)
            streams.append(other)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(_address()))
            socket.send_fds(channel, [len(body).to_bytes(_LENGTH, "big")], [*streams, of_child])
            channel.sendall(body)
    pid = int.from_bytes(os.read(status, _LENGTH), "big")
    return Program(pid, status, *ours[1:])


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 120
) -> CompletedProcess[str]:
    """Run `playhead ARGUMENTS…` to its end."""
    program = start(arguments, cwd=cwd, env=env)
    try:
        out, err = program.communicate(timeout)
    except TimeoutExpired:
        program.kill()
        raise
    return CompletedProcess(arguments, program.wait(), out, err)


@cache
def folder() -> Path:
    """Return a folder with a program `playhead`, to be put on a shell's `PATH`."""
    made = Path(tempfile.mkdtemp(prefix="playhead-program-"))
    atexit.register(shutil.rmtree, made)
    script = made / "playhead"
    script.write_text(_SCRIPT.format(python=sys.executable, address=str(_address()), length=_LENGTH))
    script.chmod(0o755)
    return made


_SCRIPT: Final = """\
#!{python} -IS
import _signal, _socket, os, sys
status, of_child = os.pipe()
request = dict(arguments=sys.argv[1:], cwd=os.getcwd(), env=dict(os.environ))
body = repr(request).encode()
streams = b"".join(one.to_bytes(4, sys.byteorder) for one in (0, 1, 2, of_child))
channel = _socket.socket(_socket.AF_UNIX)
channel.connect({address!r})
channel.sendmsg(
    [len(body).to_bytes({length}, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)]
)
channel.sendall(body)
channel.close()
os.close(of_child)
pid = int.from_bytes(os.read(status, {length}), "big")
for number in (_signal.SIGINT, _signal.SIGTERM):
    _signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(os.read(status, 64))
if code < 0:
    os.kill(os.getpid(), _signal.SIGKILL)
sys.exit(code)
"""
"""Imports few modules, because that takes longer than the rest."""


def _address() -> Path:
    """Return the address of the process that forks. The first call starts it; it ends with this process."""
    with _starting:
        return _started()


_starting: Final = threading.Lock()


@cache
def _started() -> Path:
    made = Path(tempfile.mkdtemp(prefix="playhead-fork-"))
    atexit.register(shutil.rmtree, made)
    address = made / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        alive, ends = os.pipe()
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(listener.fileno()), str(alive)],
            pass_fds=[listener.fileno(), alive],
            stdin=DEVNULL,
            start_new_session=True,
        )
    os.close(alive)
    atexit.register(os.close, ends)
    return address


# -- the process that forks ------------------------------------------------------------------------


def _import_everything() -> None:
    package = importlib.import_module("playhead")
    for module in pkgutil.walk_packages(package.__path__, "playhead."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.freeze()


def _fork_for_each(listener: socket.socket, alive: int) -> dict[str, Any]:
    """Fork for each request. Return only in the children, each with its request.

    The pid and the end of a child are reported. A child is killed if no process can read its report any more.
    """
    ended, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)  # gets a byte when a child ends
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # by pid: the descriptor for the report
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(ended, select.POLLIN)
    poll.register(alive, 0)
    while True:
        ready = dict(poll.poll())
        for pid, status in running.items():
            if status in ready or alive in ready:
                os.kill(pid, signal.SIGKILL)
        if alive in ready:
            for pid in running:
                os.waitpid(pid, 0)
            os._exit(0)
        if ended in ready:
            os.read(ended, 4096)
            for status in _report_ends(running):
                poll.unregister(status)
                os.close(status)
        if listener.fileno() in ready and (received := _received(listener)):
            body, streams, status = received
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                for descriptor in (ended, wakes, alive, status, *running.values()):
                    os.close(descriptor)
                _use(streams)
                return dict(ast.literal_eval(body.decode()))
            for descriptor in streams:
                os.close(descriptor)
            running[pid] = status
            poll.register(status, 0)
            with suppress(BrokenPipeError):
                os.write(status, pid.to_bytes(_LENGTH, "big"))


def _received(listener: socket.socket) -> tuple[bytes, list[int], int] | None:
    """Return a request, its streams, and the descriptor for the report; None if its sender was killed."""
    channel, _ = listener.accept()
    with channel, suppress(ConnectionError):
        head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH, 4)
        body = channel.recv(length := int.from_bytes(head, "big"), socket.MSG_WAITALL)
        if descriptors and len(body) == length:
            return body, descriptors[:-1], descriptors[-1]
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def _report_ends(running: dict[int, int]) -> list[int]:
    """Report the children that have ended, forget them, and return the descriptors of their reports."""
    reported = []
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        reported.append(running.pop(pid))
        with suppress(BrokenPipeError):
            os.write(reported[-1], str(os.waitstatus_to_exitcode(status)).encode())
    return reported


def _use(streams: list[int]) -> None:
    """Make these the standard streams of this process."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in {*streams} - {0, 1, 2}:
        os.close(descriptor)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _run() -> None:
    """Run Playhead to its end. Without the end of the interpreter, which would copy and free all modules."""
    try:
        runpy.run_module("playhead", run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        if not isinstance(exc.code, int):
            raise
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exc.code)


def _enter(namespace: str) -> None:
    with open(namespace, "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


if __name__ == "__main__":
    _import_everything()
    request = _fork_for_each(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    for namespace in request.get("namespaces", ()):
        _enter(namespace)
    if (user := request.get("user")) is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["arguments"]
    _run()
