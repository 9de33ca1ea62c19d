"""One home and one server for all tables of what is asked: a row that is refused changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.bad_input.ground import (
    ALLOWED,
    MAX_OBJECT,
    MAX_UPLOAD,
    STEPS,
    Ground,
)
from tests.acceptance.processes import STEADY, open_deployment
from tests.acceptance.shell import Command, commands_here
from tests.unit import test_config_faults


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory, after_unit: ExitStack) -> Ground:
    steps = tmp_path_factory.mktemp("ground") / "steps.py"
    steps.write_text(STEPS)
    settings = {
        **STEADY,
        "ADAPTERS": f"{steps},{test_config_faults.__file__}",
        "ADAPTERS_ALLOWED": ALLOWED,
        "MAX_UPLOAD_BYTES": str(MAX_UPLOAD),
        "MAX_OBJECT_BYTES": str(MAX_OBJECT),
    }
    made = Ground(after_unit.enter_context(open_deployment(adapters=steps, **settings)))
    after_unit.callback(made.close)
    return made


@pytest.fixture
def command(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    deployment = ground.deployment
    with commands_here(deployment.folder, deployment.environment, monkeypatch, capfd) as command:
        yield command
