"""Command lines: in a folder, as processes, or in the process of the tests."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest

from playhead.cli.app import run_program
from tests import program
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.program import Program

Command = Callable[..., tuple[int, str, str]]
"""Runs one command line; returns its exit code, stdout and stderr."""


class Shell:
    """A folder with files in which `playhead` is called. Its home and its steps are below the folder."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self.folder = folder
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PLAYHEAD_")}
        self.env = kept | {"PLAYHEAD_HOME": str(folder / "home"), "PLAYHEAD_ADAPTERS": "./steps.py"}

    def start(self, *arguments: str, **streams: Any) -> Program:
        return program.start(arguments, cwd=self.folder, env=self.env, **streams)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr of one command."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=2 * DEADLINE_SECONDS)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return what a command prints with `--json`. Its exit code is checked."""
        left, out, err = self(*arguments, "--json")
        assert left == code, (left, out, err)
        return json.loads(out)

    @contextmanager
    def worker(self) -> Iterator[Program]:
        process = self.start("worker", stdout=DEVNULL, stderr=DEVNULL)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_SECONDS)


@contextmanager
def commands_here(
    folder: Path,
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """Run command lines in this process, because many processes would take long.

    Args:
        environment: only its settings of Playhead are used.
    """
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("PLAYHEAD_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if name.startswith("PLAYHEAD_"):
            monkeypatch.setenv(name, value)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def one(*arguments: str) -> tuple[int, str, str]:
        code = run_program(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    try:
        yield one
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
