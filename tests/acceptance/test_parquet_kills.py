"""A process that publishes in a `parquet_sink` is killed after any line, and another one continues."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pyarrow.dataset
import pytest

from playhead import Context, Item
from playhead.adapters.parquet_sink import ParquetSink, ParquetSinkConfig, current
from playhead.ports.sinks import SinkContext, StagePage

ROOT = Path(__file__).parents[2]
POINTS = 20
RUN = UUID(int=1)
MESSAGES = {path: UUID(int=10 + n) for n, path in enumerate("abcde")}
CONTENTS = {0: [], 1: ["a", "b"], 2: ["a", "c", "d"], 3: ["d", "e"]}
ENDS = [1, 2, 1, 3]
"""What readers see after each switch."""

_CHILD = """
import os, signal, sys
from tests.acceptance.test_parquet_kills import history

home, at = sys.argv[1], int(sys.argv[2])
files = "_parquet_versions.py", "_parquet_file.py"
lines = 0

def trace(frame, event, arg):
    global lines
    if not frame.f_code.co_filename.endswith(files):
        return None
    if event == "line":
        lines += 1
        if lines == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

sys.settrace(trace)
for _ in history(home):
    pass
print(lines)
"""


def history(home: str) -> Iterator[None]:
    """Write, publish three times with a rollback, and drop two publications. Yields after each call."""
    sink = ParquetSink(ParquetSinkConfig(path="rows", buckets=2))
    ctx = SinkContext("docs", "docs", "index", home)
    results = {path: f"{message}.1" for path, message in MESSAGES.items()}

    def write(path: str) -> None:
        item = Item(path, path.encode(), stage="seg", key=f"{RUN}/seg/{path}")
        where = RUN, MESSAGES[path], "docs", 1, "index", 1, None, home
        assert sink([item], [Context(*where, log=logging.getLogger("test"), dataset="docs")]) == [None]

    def stage(n: int, *, after: int) -> None:
        added = sorted(results[one] for one in set(CONTENTS[n]) - set(CONTENTS[n - 1]))
        removed = sorted(results[one] for one in set(CONTENTS[n - 1]) - set(CONTENTS[n]))
        for k in range(2):
            assert sink.stage(StagePage(n, k, 2, after, added[k::2], removed[k::2]), ctx) == []

    calls = [
        *(partial(write, path) for path in MESSAGES),
        partial(stage, 1, after=0),
        partial(sink.switch, 1, 1, ctx),
        partial(stage, 2, after=1),
        partial(sink.switch, 2, 2, ctx),
        partial(sink.switch, 1, 3, ctx),
        partial(stage, 3, after=2),
        partial(sink.switch, 3, 4, ctx),
        partial(sink.forget, [range(1, 3)], 3, [RUN], ctx),
    ]
    for call in calls:
        call()
        yield


def seen(home: Path) -> list[str]:
    folder = current(home / "rows")
    if folder == home / "rows":
        return []
    return sorted(pyarrow.dataset.dataset(folder, format="parquet").to_table()["path"].to_pylist())


def run(home: Path, at: int) -> subprocess.CompletedProcess[str]:
    home.mkdir()
    command = [sys.executable, "-c", _CHILD, str(home), str(at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The number of lines that the history executes."""
    home = tmp_path_factory.mktemp("whole") / "home"
    whole = run(home, 0)
    assert seen(home) == CONTENTS[3]
    return int(whole.stdout)


@pytest.mark.parametrize("point", range(POINTS))
def test_readers_see_whole_publications_after_a_kill_at_any_line(tmp_path: Path, lines: int, point: int):
    home = tmp_path / "home"
    assert run(home, 1 + point * lines // POINTS).returncode == -9
    before = seen(home)
    assert before in CONTENTS.values()
    place = min((n for n, end in enumerate(ENDS) if CONTENTS[end] == before), default=0)
    # Another process repeats all calls, so the first of them come late.
    for _ in history(str(home)):
        now = seen(home)
        assert now in [before, *(CONTENTS[end] for end in ENDS[place:])]
    assert seen(home) == CONTENTS[3]
    left = [one.name for one in (home / "rows").rglob("*") if ".new" in one.name or ".old" in one.name]
    assert left == []
    [folder] = (home / "rows" / ".published").glob("*/*/v*")
    assert folder == current(home / "rows")
