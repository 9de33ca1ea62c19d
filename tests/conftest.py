"""Settings, options and reports of the process that runs the tests."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

import playhead
from tests import servers

# Examples have no deadline: the machine may stall, which is not a fault of the tested code. Each run tries
# new examples, except in CI, where runs must be repeatable.
settings.register_profile(
    "playhead",
    max_examples=int(os.environ.get("PLAYHEAD_TEST_EXAMPLES", "60")),
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("playhead")

# Modules and collected tests live as long as the process. The garbage collector need not visit them.
gc.disable()

# A shell starts a background command (`&`) with SIGINT ignored, and children inherit that. A test that sends
# SIGINT would then wait until its timeout.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_handler_without_a_stream() -> None:
    """Remove log handlers with a closed stream: a command run in the test process leaves one behind."""
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if not getattr(getattr(h, "stream", None), "closed", False)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the tests marked `full` (make test-full)")


def pytest_configure(config: pytest.Config) -> None:
    servers.required()
    servers.begin_run()
    _use_memory_for_temporary_files()
    source = Path(__file__).parent.parent / "src"
    if os.environ.get("PLAYHEAD_TEST_INSTALLED") and Path(playhead.__file__).is_relative_to(source):
        raise pytest.UsageError(
            f"PLAYHEAD_TEST_INSTALLED is set, but playhead is imported from {source}. Install the wheel:"
            " make dist && rm -r .venv && make test PROJECT=$(echo dist/*.whl)"
        )


def _use_memory_for_temporary_files() -> None:
    """Let pytest create its folders in memory, if there is enough: SQLite then waits for no disk.

    No test depends on a disk: a `kill -9` of a process loses nothing that it has written.
    """
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


_MEMORY_BYTES = 4 << 30
"""More than the tests write; the folders of passed tests are removed."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `full`, unless `--full` is given, and mix the others."""
    if not config.getoption("--full"):
        left_out = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if not item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)
    _mix(items)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def _mix(items: list[pytest.Item]) -> None:
    """Spread the units of each folder over the whole run.

    Some folders mostly compute, and others mostly wait for servers or processes. Neither alone would use the
    whole machine. Files of small folders take long, so these begin earlier, and short files come last.
    """
    folders: dict[Path, list[str]] = {}
    for unit in dict.fromkeys(_unit(item.nodeid) for item in items):
        folders.setdefault(Path(unit).parent, []).append(unit)
    when = {unit: n / (len(units) + 2) for units in folders.values() for n, unit in enumerate(units)}
    items.sort(key=lambda item: when[_unit(item.nodeid)])


_TOGETHER = ("tests/acceptance/bad_input", "tests/browser")
"""Folders whose tests share a deployment."""


def _unit(nodeid: str) -> str:
    """Return what one process runs as a whole: a file, or a folder whose tests share a deployment."""
    return next((one for one in _TOGETHER if nodeid.startswith(f"{one}/")), nodeid.partition("::")[0])


_after_unit = ExitStack()


@pytest.fixture(scope="session")
def after_unit() -> ExitStack:
    """What is closed after the last test of a file, or of a folder whose tests share it.

    The end of the session would be too late: what is open takes time from the other tests, and while a
    browser is open, no test can run an event loop. pytest knows the end of a folder only if it is a package.
    """
    return _after_unit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    try:
        return (yield)
    finally:
        if nextitem is None or _unit(nextitem.nodeid) != _unit(item.nodeid):
            _after_unit.close()


class _Units(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        return _unit(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Units:
    return _Units(config, log)


# Reports of the worker processes of pytest-xdist, or of this process without it.
_MISSING: Counter[str] = Counter()
_KEPT: list[str] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    failed = exitstatus == pytest.ExitCode.TESTS_FAILED
    report = {
        "missing": servers.what_is_missing(),
        "kept": str(servers.keep_logs(session.config) or "") if failed else "",
    }
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["servers"] = report
    else:
        _add(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if report := getattr(node, "workeroutput", {}).get("servers"):
        _add(report)


def _add(report: dict[str, Any]) -> None:
    _MISSING.update(report["missing"])
    if report["kept"]:
        _KEPT.append(report["kept"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _MISSING:
        terminalreporter.section("skipped for lack of a server or tool")
        for reason, count in sorted(_MISSING.items()):
            terminalreporter.write_line(f"{reason} (tests skipped: {count})")
    for kept in dict.fromkeys(_KEPT):
        terminalreporter.write_line(f"logs of the servers: {kept}")
