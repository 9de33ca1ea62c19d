"""`run --changed-since` with real processes: commands, servers, detached runs and clients."""

from __future__ import annotations

from collections.abc import Iterator
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
