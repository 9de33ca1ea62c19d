"""Managed replays over real connections: clients that leave, and requests that are repeated."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.exactness import exact_deployment, inputs, pipeline
from tests.acceptance.processes import Deployment

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with exact_deployment() as deployment:
        yield deployment


@pytest.fixture
def source(deployment: Deployment) -> str:
    deployment.serve("--workers", "1")
    deployment.apply(pipeline("docs", "slow", "seconds: 0.01"))
    run = deployment.run("docs", inputs(5))
    deployment.ended(run)
    return run


def test_a_client_that_disconnects_stops_nothing(deployment: Deployment, source: str):
    body = {"from_execution_id": source, "from_stage": "input", "to_route": "work", "pace": {"rate": 2}}
    with httpx.Client(trust_env=False) as http, pytest.raises(httpx.ReadTimeout):
        http.post(f"{deployment.url}/api/v1/replay", json=body, timeout=1)
    [replay] = deployment.items("/replays")
    assert replay["status"] is None
    deployment.ended(replay["execution_id"])
    assert deployment.get(f"/replays/{replay['replay_batch_id']}")["objects_published"] == 5
