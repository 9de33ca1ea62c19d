"""The processes of the demo: a server, a worker and the one-shot commands, all on one home."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from playhead.errors import PlayheadError

_LISTENING = re.compile(r"Playhead listening on (http://\S+)")
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0


class DemoFailed(PlayheadError):
    """A step of the demo failed."""

    def __init__(self, detail: str) -> None:
        super().__init__("demo_failed", detail)


@dataclass(slots=True)
class Child:
    """A process of the demo, and the file with its stderr."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise `DemoFailed` if it has ended, with its last lines."""
        code = self.process.poll()
        if code is not None:
            last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
            said = "\n  ".join(last) or "(nothing)"
            raise DemoFailed(
                f"the {self.name} ended with code {code}; the last lines of {self.log}:\n  {said}"
            )

    def stop(self) -> None:
        """Stop it with SIGTERM, and kill it if it does not exit in time."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Playground:
    """A running server and worker.

    Attributes:
        url: where the server listens.
        home: their `PLAYHEAD_HOME`.
    """

    url: str
    home: Path
    children: list[Child]
    environment: Mapping[str, str]

    def check(self) -> None:
        """Raise `DemoFailed` if server or worker is gone."""
        for child in self.children:
            child.check()

    def command(self, *arguments: str) -> Any:
        """Run one `playhead … --json` on the same home and return what it printed."""
        done = subprocess.run(
            [*_playhead(self.home), *arguments, "--json"],
            env=self.environment,
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(
                f"playhead {arguments[0]} ended with code {done.returncode}: {done.stderr.strip()}"
            )
        return json.loads(done.stdout)


@contextmanager
def playground(folder: Path, *, environment: Mapping[str, str] | None = None) -> Iterator[Playground]:
    """Run a server and a worker on `folder/home` until the block is left.

    Args:
        folder: created if missing; logs go to `folder/logs`.
        environment: variables that override those of this process, for every process.
    """
    folder = folder.resolve()
    home, logs = folder / "home", folder / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DemoFailed(f"cannot create {logs}: {exc.strerror}; name another folder with --dir") from exc
    # Settings of the caller for another deployment must not apply to the demo. For the same reason, the
    # processes run in `folder`, which has no playhead.toml.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}  # noqa: TID251
    env = {**inherited, **(environment or {})}
    children: list[Child] = []
    try:
        server = _start("server", [*_playhead(home), "serve", "--port", "0"], logs / "serve.log", env)
        children.append(server)
        url = _address(server)
        # Now that the server has created the home, so that only one process creates it.
        children.append(_start("worker", [*_playhead(home), "worker"], logs / "worker.log", env))
        yield Playground(url, home, children, env)
    finally:
        for child in reversed(children):
            child.stop()


def _playhead(home: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "playhead", "--home", str(home)]


def _start(name: str, arguments: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    sink: IO[bytes]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            arguments,
            env=env,
            cwd=log.parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sink,
            # In a separate session, so that Ctrl-C does not reach it: the demo stops the worker first.
            start_new_session=True,
        )
    return Child(name, process, log)


def _address(server: Child) -> str:
    """Wait for the line with the address of the server."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = _LISTENING.search(server.log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
        server.check()
        time.sleep(0.05)
    raise DemoFailed(f"the server printed no address within {_START_SECONDS:.0f} s; see {server.log}")
