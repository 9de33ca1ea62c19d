"""One home and one server for all tables of what is asked: a row that is refused changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from playhead.cli.app import run_program
from tests.acceptance.bad_input.ground import (
    ALLOWED,
    MAX_OBJECT,
    MAX_UPLOAD,
    STEPS,
    Ground,
    plain_environment,
    settings_here,
)
from tests.acceptance.processes import STEADY, open_deployment
from tests.unit import test_config_faults

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    steps = tmp_path_factory.mktemp("ground") / "steps.py"
    steps.write_text(STEPS)
    settings = {
        **STEADY,
        "ADAPTERS": f"{steps},{test_config_faults.__file__}",
        "ADAPTERS_ALLOWED": ALLOWED,
        "MAX_UPLOAD_BYTES": str(MAX_UPLOAD),
        "MAX_OBJECT_BYTES": str(MAX_OBJECT),
    }
    with open_deployment(adapters=steps, **settings) as deployment:
        made = Ground(deployment)
        yield made
        made.close()


@pytest.fixture
def command(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run one command line in this process: exit code, stdout, stderr. A process each would take long."""
    monkeypatch.chdir(ground.deployment.folder)
    for name in settings_here():
        monkeypatch.delenv(name)
    for name, value in plain_environment(ground.deployment).items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def one(*arguments: str) -> tuple[int, str, str]:
        code = run_program(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    yield one
    root.handlers[:], level = before
    root.setLevel(level)
