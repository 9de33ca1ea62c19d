"""What all tests need of the process that runs them."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import servers

# A machine that stands still for a moment is no fault of what is tested: examples have no deadline, nor has
# making them up. Others are tried each time, but where a run has to be one that can be repeated.
settings.register_profile(
    "playhead",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("playhead")

# A shell starts what stands before `&` with SIGINT ignored, and every child inherits that: a test that
# presses Ctrl-C would then wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_handler_without_a_stream() -> None:
    """A command that a test ran in its own process leaves a log handler behind, whose stream is gone."""
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if not getattr(getattr(h, "stream", None), "closed", False)]


def pytest_configure(config: pytest.Config) -> None:
    servers.required()


# What the processes say among which the tests are dealt out (pytest-xdist), if they are.
_MISSING: Counter[str] = Counter()
_KEPT: list[str] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    failed = exitstatus == pytest.ExitCode.TESTS_FAILED
    said = {
        "missing": servers.what_is_missing(),
        "kept": str(servers.keep_logs(session.config) or "") if failed else "",
    }
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["servers"] = said
    else:
        raise_task_failure(said)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if said := getattr(node, "workeroutput", {}).get("servers"):
        raise_task_failure(said)


def raise_task_failure(said: dict[str, Any]) -> None:
    _MISSING.update(said["missing"])
    if said["kept"]:
        _KEPT.append(said["kept"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _MISSING:
        terminalreporter.section("not tested here")
        for what, count in sorted(_MISSING.items()):
            terminalreporter.write_line(f"{what} (tests skipped: {count})")
    for kept in dict.fromkeys(_KEPT):
        terminalreporter.write_line(f"what the servers said: {kept}")
