"""`run --changed-since` with real processes: commands, servers, detached runs and clients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import playhead
from tests.acceptance.processes import Deployment, open_deployment

_CONFIG: Final = """
version: "1.0"
name: {name}
entry: split
routes:
  split:
    adapters: [{{type: thirds}}]
    outbound: {{stage: parts, to: [shout]}}
  shout:
    adapters: [{{type: shout}}]
    outbound: {{stage: loud}}
"""
NOT_FOUND, USAGE, FAILED = 4, 2, 1

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """A server with a worker in it, and a finished run of two texts."""
    with open_deployment() as deployment:
        deployment.serve()
        deployment.worker()
        for name in ("docs", "other"):
            deployment.apply(_CONFIG.format(name=name))
        texts = deployment.folder / "texts"
        texts.mkdir()
        for name in ("a", "b"):
            (texts / f"{name}.txt").write_text(name)
        run = deployment.cli("run", "docs", "texts", "--tag", "first")
        assert run["counts"]["total"] == 8
        yield deployment


def since(deployment: Deployment, *arguments: str, code: int = 0) -> Any:
    return deployment.cli("run", "docs", "texts", "--changed-since", "tag:first", *arguments, code=code)


def test_a_command_may_use_a_server(deployment: Deployment):
    run = since(deployment, "--server", deployment.url)
    assert (run["counts"]["total"], run["counts"]["taken_over"]) == (8, 8)
    assert run["status"] == "completed"


def test_several_processes_may_work_on_it(deployment: Deployment):
    run = since(deployment, "--processes", "2")
    assert run["counts"]["taken_over"] == 8


def test_a_client_shows_what_was_taken_over(deployment: Deployment):
    run = since(deployment)
    first = run["changed_since"]
    with playhead.connect(server=deployment.url) as client:
        execution = client.execution(run["execution_id"])
        assert (str(execution.changed_since), execution.counts.taken_over) == (first, 8)
        objects = client.objects(execution.execution_id, "loud")
        assert len(objects) == 6
        assert all(one.taken_over_from == f"{first}/loud/{one.path}" for one in objects)
        assert client.read(objects[0].key) == b"A, PART 1 OF 3"
        messages = client.messages(execution.execution_id, status="taken_over")
        assert len(messages) == 8
        assert all(one.taken_over_from for one in messages)


def rewritten(file: Path, text: str) -> None:
    """Write another text of the same length, and keep the modification time."""
    before = file.stat()
    assert len(text) == before.st_size
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_files_with_known_times_are_not_read_if_asked_and_changes_that_keep_the_time_are_missed(
    deployment: Deployment,
):
    files = deployment.folder / "files"
    files.mkdir()
    for name in ("old", "new"):
        (files / f"{name}.txt").write_text("text 1")
    os.utime(files / "old.txt", (1e9, 1e9))
    deployment.cli("run", "docs", "files", "--tag", "read")

    def processed(*arguments: str) -> set[str]:
        run = deployment.cli("run", "docs", "files", "--changed-since", "tag:read", *arguments)
        return {
            one["path"]
            for one in deployment.cli("ls", run["execution_id"], "input")["items"]
            if one["taken_over_from"] is None
        }

    assert processed("--trust-mtime") == set()
    for name in ("old", "new"):
        rewritten(files / f"{name}.txt", "text 2")
    # The new file was written just before the first run, so its time may stay the same.
    assert processed("--trust-mtime") == {"new.txt"}
    assert processed() == {"new.txt", "old.txt"}
    os.utime(files / "old.txt", (1e9 + 1, 1e9 + 1))
    assert processed("--trust-mtime") == {"new.txt", "old.txt"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--changed-since"),
        (["--changed-since", "previous", "--split", "lines"], "--split"),
        (["--changed-since", "previous", "--server", "http://127.0.0.1:1"], "--server"),
    ],
)
def test_times_are_trusted_only_of_files_that_the_command_reads(
    deployment: Deployment, arguments: list[str], word: str
):
    body = deployment.cli("run", "docs", "texts", "--trust-mtime", *arguments, code=USAGE)
    assert word in body["detail"]
