"""Control of replays in real processes that are killed or frozen at the worst moment.

Every test ends with the same count: each object that the answer counted as published was started once, and no
other one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.acceptance.deployments import KINDS, Urls, open_server_deployment
from tests.acceptance.pipelines import BULK
from tests.acceptance.processes import DEADLINE_SECONDS, LIVE, Deployment, Process, client, open_deployment
from tests.acceptance.stand import Stand

pytestmark = pytest.mark.slow

POINTS: Final = ("control.committed", "replay.created", "replay.admitted")
COUNT: Final = 30
RATE: Final = 10


class Paced:
    """A deployment with the source of all replays. Each test starts its own servers and workers."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.stand = Stand(deployment)
        self.stand.start()
        deployment.apply(BULK.source)
        self.source = self.stand.finished("bulk", {f"{n:03}.txt": b"text" for n in range(COUNT)})
        self.stand.end()

    @property
    def body(self) -> dict[str, Any]:
        return {
            "from_execution_id": self.source,
            "from_stage": "input",
            "to_route": "shout",
            "pace": {"rate": RATE},
        }

    def start(self, server: Process, **headers: str) -> Any:
        """Start a replay without waiting for it."""
        return self.ask(
            server, "POST", "replay", json=self.body, headers={"Prefer": "respond-async"} | headers
        )

    def ask(self, server: Process, method: str, path: str, **request: Any) -> Any:
        with client(f"{server.url}/api/v1/") as http:
            answer = http.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer.json()

    def published(self, server: Process, replay: Any, count: int) -> Any:
        """Wait until some messages are published."""

        def look() -> Any:
            found = self.ask(server, "GET", f"replays/{replay['replay_batch_id']}")
            return found if found["objects_published"] >= count else None

        return self.deployment.until(look, f"{count} messages to be published")

    def processed(self, server: Process, replay: Any) -> Any:
        """Wait until the execution of a replay has ended, and return the replay."""

        def look() -> Any:
            found = self.ask(server, "GET", f"executions/{replay['execution_id']}")
            return found["status"] != "running"

        self.deployment.until(look, "the replay to end")
        return self.ask(server, "GET", f"replays/{replay['replay_batch_id']}")

    def starts(self, replay: Any) -> Counter[str]:
        """How often each message of a replay was started."""
        lines = self.deployment.noted(replay["execution_id"])
        return Counter(line.split()[2] for line in lines if line.startswith("started"))

    def check_all(self, server: Process, replay: Any) -> None:
        """Every object was published and processed once."""
        ended = self.processed(server, replay)
        assert (ended["state"], ended["objects_published"]) == ("publishing_complete", COUNT)
        starts = self.starts(replay)
        assert (len(starts), set(starts.values())) == (COUNT, {1})
        self.deployment.check_audit()


ON_SERVERS: Final = ("nats", "rabbitmq", "postgres")
"""For tests whose processes die or sleep while they publish. The other tests are about the catalog."""


@pytest.fixture(scope="module", params=["sqlite"])
def whole(request: pytest.FixtureRequest) -> Iterator[Paced]:
    if request.param == "sqlite":
        with open_deployment(**LIVE) as deployment:
            yield Paced(deployment)
    else:
        with open_server_deployment(Urls.shared(KINDS[request.param]), **LIVE) as on_servers:
            yield Paced(on_servers)


@pytest.fixture
def paced(whole: Paced) -> Iterator[Paced]:
    yield whole
    whole.stand.end()


CONTROLS: Final[dict[str, tuple[str, str, Any]]] = {
    "pause": ("POST", "pause", None),
    "resume": ("POST", "resume", None),
    "cancel": ("POST", "cancel", {"withdraw": False}),
    "withdraw": ("POST", "cancel", {"withdraw": True}),
    # Slower than before, because the replay must not end before the request is repeated.
    "pace": ("PUT", "pace", {"rate": RATE / 2}),
    "retry": ("POST", "retry", None),
}
FAST: Final = ("pause", "resume", "withdraw")
"""`tests/contract/test_catalog_control.py` has what each control does when it is repeated."""


@pytest.mark.parametrize(
    "control",
    [*FAST, *(pytest.param(control, marks=pytest.mark.full) for control in CONTROLS if control not in FAST)],
)
def test_a_control_whose_answer_is_lost_can_be_repeated(paced: Paced, control: str):
    """The server dies after the commit. Another one drives the replay."""
    driver = paced.deployment.serve()
    dying = paced.deployment.serve(fault=POINTS[0])
    replay = paced.start(driver)
    paced.published(driver, replay, 3)
    path = f"replays/{replay['replay_batch_id']}"
    if control == "resume":
        paced.ask(driver, "POST", f"{path}/pause")
    method, verb, body = CONTROLS[control]

    with pytest.raises(httpx.TransportError):
        paced.ask(dying, method, f"{path}/{verb}", json=body)
    paced.deployment.struck(dying)
    again = paced.ask(driver, method, f"{path}/{verb}", json=body)

    paced.deployment.worker()
    if control in ("cancel", "withdraw"):
        ended = paced.processed(driver, replay)
        assert ended["state"] == "cancelled"
        assert ended["objects_published"] == again["objects_published"]
        started = again["objects_published"] if control == "cancel" else 0
        assert paced.starts(replay).total() == started
        return
    if control == "pause":
        assert again["state"] == "paused"
        paced.ask(driver, "POST", f"{path}/resume")
    paced.check_all(driver, replay)


@pytest.mark.parametrize("whole", ["sqlite", *ON_SERVERS], indirect=True, scope="module")
def test_a_paced_replay_whose_publisher_is_killed_is_continued_by_another(paced: Paced):
    dying = paced.deployment.serve(fault="replay.published:2")
    replay = paced.start(dying)
    paced.deployment.struck(dying)

    heir = paced.deployment.serve()
    paced.deployment.worker()

    paced.check_all(heir, replay)


@pytest.mark.parametrize("point", POINTS[1:])
def test_a_request_with_a_key_that_is_repeated_after_a_kill_starts_one_replay(paced: Paced, point: str):
    dying = paced.deployment.serve(fault=point)
    key = {"Idempotency-Key": f"after-{point}-{paced.source}"}
    with pytest.raises(httpx.TransportError):
        paced.start(dying, **key)
    heir = paced.deployment.serve()
    before = paced.ask(heir, "GET", "replays", params={"limit": 1})["items"][0]

    replay = paced.start(heir, **key)

    assert replay["replay_batch_id"] == before["replay_batch_id"]
    paced.deployment.worker()
    paced.check_all(heir, replay)


def _frozen(paced: Paced) -> tuple[Process, Process, Any]:
    """A replay whose publisher is frozen in the middle (SIGSTOP), and a server that can be asked."""
    publisher = paced.deployment.serve()
    replay = paced.start(publisher)
    paced.published(publisher, replay, 3)
    publisher.pause()
    return publisher, paced.deployment.serve(), replay


@pytest.mark.parametrize(
    "whole",
    ["sqlite", *(pytest.param(kind, marks=pytest.mark.full) for kind in ON_SERVERS)],
    indirect=True,
    scope="module",
)
def test_after_a_cancel_a_publisher_that_wakes_up_starts_nothing(paced: Paced):
    publisher, server, replay = _frozen(paced)
    path = f"replays/{replay['replay_batch_id']}"

    cancelled = paced.ask(server, "POST", f"{path}/cancel", json={"withdraw": True})
    publisher.resume()
    paced.deployment.worker()

    ended = paced.processed(server, replay)
    assert ended["objects_published"] == cancelled["objects_published"]
    assert paced.starts(replay).total() == 0


def test_in_a_pause_a_publisher_that_wakes_up_starts_nothing_that_was_not_named(paced: Paced):
    publisher, server, replay = _frozen(paced)
    path = f"replays/{replay['replay_batch_id']}"

    paused = paced.ask(server, "POST", f"{path}/pause")
    publisher.resume()
    worker = paced.deployment.worker("--until-idle")

    assert worker.popen.wait(DEADLINE_SECONDS) == 0
    started = paced.starts(replay)
    assert paused["objects_published"] <= started.total()
    assert started.total() <= paused["objects_published"] + paused["objects_uncertain"]
    paced.ask(server, "POST", f"{path}/resume")
    paced.deployment.worker()
    paced.check_all(server, replay)
