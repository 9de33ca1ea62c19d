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
    """A step of the demo did not do what it should."""

    def __init__(self, detail: str) -> None:
        super().__init__("demo_failed", detail)


@dataclass(slots=True)
class Child:
    """A process of ours and the file that its stderr goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise `DemoFailed` if it has ended, with the last lines it wrote."""
        code = self.process.poll()
        if code is not None:
            last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
            said = "\n  ".join(last) or "(nothing)"
            raise DemoFailed(
                f"the {self.name} ended with code {code}; its last words ({self.log}):\n  {said}"
            )

    def stop(self) -> None:
        """Ask it to stop, wait, and insist only if it does not."""
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
    """Run a server and a worker on `folder/home` until the block is left, by whichever way.

    Args:
        folder: made when missing; logs go to `folder/logs`.
        environment: laid over ours for every process.
    """
    folder = folder.resolve()
    home, logs = folder / "home", folder / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DemoFailed(f"cannot make {logs}: {exc.strerror}; name another folder with --dir") from exc
    # What the caller has set for a Playhead of theirs (a store, a broker) must not draw the demo into it;
    # for the same reason the processes run in `folder`, where no playhead.toml lies.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}  # noqa: TID251
    env = {**inherited, **(environment or {})}
    children: list[Child] = []
    try:
        server = _start("server", [*_playhead(home), "serve", "--port", "0"], logs / "serve.log", env)
        children.append(server)
        url = _address(server)
        # Only now: the server has made the home, so the two do not both set out to.
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
            # Out of reach of the terminal's Ctrl-C: we stop them ourselves, the worker first.
            start_new_session=True,
        )
    return Child(name, process, log)


def _address(server: Child) -> str:
    """Wait for the line that says where the server listens."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = _LISTENING.search(server.log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
        server.check()
        time.sleep(0.05)
    raise DemoFailed(
        f"the server did not say where it listens within {_START_SECONDS:.0f} s; see {server.log}"
    )
