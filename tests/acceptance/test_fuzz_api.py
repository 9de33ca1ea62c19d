"""Requests that schemathesis generates from `/openapi.json`, sent to a server with the data of a small demo.

Every operation gets valid and invalid requests. Half of the valid ones name existing objects. Responses are
validated by all default checks except `positive_data_acceptance`: a valid path may name an object that does
not exist. Each operation must answer at least one request with 2xx.

All requests have the key of an administrator. No worker runs during the test, so that executions can be
cancelled and queues contain messages.
`PLAYHEAD_TEST_EXAMPLES=200` sends more requests per operation.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.acceptance.processes import Deployment, open_deployment

EXAMPLES = int(os.environ.get("PLAYHEAD_TEST_EXAMPLES", "6"))
SECONDS = 20.0
"""Time-out of a response. The named executions have ended, so their event streams end at once."""
ENDLESS = "GET /api/v1/datasets/{name}/events"
"""A stream that has no end. `tests/api/test_watching.py` has its events and its errors."""

DOCS = (Path(__file__).parents[2] / "src/playhead/demo/docs.yaml").read_text("utf-8")
_ANY_NAME = tuple(
    f"{method} /api/v1/configs/{{name}}{action}"
    for method, action in (("GET", ""), ("POST", "/activate"), ("POST", "/deactivate"))
)
"""Operations whose only parameter is a name. Any text up to 1,024 characters is valid, so no invalid request
is found, and the search takes seconds. `bad_input/test_requests.py` has those."""

# Publications must be kept, however many requests publish.
DOCS = DOCS.replace("docs: {publish: automatic}", "docs: {keep: 1000, webhook: 'https://localhost:1/'}")
SPARE = """\
version: "1.0"
name: spare
entry: out
routes:
  out: {external: true, inbound: {queue: spare.out}}
"""
PAGES = {
    "guide/page.html": b"<h1>Guide</h1><p>Segments of a page.</p>",
    "index.html": b"<h1>Index</h1><p>What a replay is.</p>",
    "bad.html": b"\xff\xfe",
}
NOWHERE = "0190a7d0-1111-7000-8000-000000000000"

Pools = dict[str, list[Any]]

_SOME = st.integers(0, 63)
"""Index into a pool of names. Pools grow, but the strategy must stay the same. 0: use no name."""


def _is_published(deployment: Deployment, n: int) -> bool:
    return bool(deployment.get(f"/datasets/docs/publications/{n}")["state"] == "published")


def _demo(deployment: Deployment) -> Pools:
    """Create runs, a replay and a dead letter. Return the existing names by parameter."""
    deployment.serve()
    deployment.apply(DOCS)
    deployment.apply(DOCS.replace("1200", "600"))
    deployment.apply(SPARE)
    worker = deployment.worker()
    run = deployment.run("docs", PAGES, tag="nightly")
    deployment.ended(run)
    for n in (1, 2):
        deployment.post("/datasets/docs/publications", json={"executions": [run]})
        deployment.until(lambda n=n: _is_published(deployment, n), f"publication {n}")  # type: ignore[misc]
    body = {"from_execution_id": run, "from_stage": "markdown_converted", "to_route": "segment"}
    replay = deployment.post("/replay", json=body | {"report": True, "webhook": "https://localhost:1/"})
    deployment.ended(replay["execution_id"])
    batch = replay["replay_batch_id"]
    deployment.until(lambda: deployment.get(f"/replays/{batch}")["report"] == "stored", "the report")
    part = body | {"from_execution_id": deployment.get("/executions/current:docs")["execution_id"]}
    part |= {"from_path": "index.md", "others_valid": True, "reason": "the title was wrong"}
    deployment.ended(deployment.post("/replay", json=part)["execution_id"])
    worker.stop()
    deployment.run("spare", {"a.txt": b"for others"})
    waiting = [deployment.run("docs", PAGES) for _ in range(30)]
    endless = {
        "from_execution_id": run,
        "from_stage": "segments",
        "to_route": "docs/segment",
        "pace": {"queue_depth": 1},
    }
    # Without a worker, a queue of one message never gets room, so they do not end by themselves. A request
    # may remove the pace of one, and so end it. Those to be cancelled get no other request.
    continuing, cancelled = (
        [
            deployment.post("/replay", json=endless, headers={"Prefer": "respond-async"})["replay_batch_id"]
            for _ in range(3)
        ]
        for _ in range(2)
    )
    messages = [m["correlation_id"] for m in deployment.items(f"/executions/{run}/lineage")]
    dead = [m["correlation_id"] for m in deployment.items("/dead-letters")]
    [group] = [one["group"] for one in deployment.items("/dead-letters/groups")]
    causes = [one["id"] for one in deployment.items("/causes")]
    objects = list(deployment.items("/storage/objects", execution_id=run))
    assert len(dead) == 1
    ended = [run, replay["execution_id"]]
    replays = [
        {"from_execution_id": run, "from_stage": stage, "to_route": route, "from_path": path}
        for stage, path in (("input", None), ("markdown_converted", "guide"), ("segments", None))
        for route in ("convert", "docs/segment", "spare/out")
    ]
    plan = deployment.post("/replay/plan", json=replays[0])
    bodies: Pools = {
        "POST /api/v1/replay": replays,
        "POST /api/v1/replay/plan": replays,
        "POST /api/v1/configs": [SPARE, DOCS, {"source": SPARE}],
        "POST /api/v1/configs/validate": [SPARE, SPARE.replace("external", "extern"), {"source": DOCS}],
        "POST /api/v1/configs/{name}/run": [{"payload": [1], "path": "a/b.json", "tags": ["t"]}],
        "POST /api/v1/datasets/{name}/publications": [
            {"executions": [run]},
            {"executions": [run], "dry_run": True},
            {"executions": [replay["execution_id"]], "dry_run": True},
        ],
        "POST /api/v1/datasets/{name}/forget": [{"route": "segment"}],
        "POST /api/v1/datasets/{name}/rollback": [{"to": 1}, {"to": 2, "reason": "why"}],
        "POST /api/v1/queues/{queue}/take": [{"limit": 1}],
        "POST /api/v1/queues/{queue}/remove": [],
        "POST /api/v1/dead-letters/resend": [
            *({"correlation_ids": dead}, {"route": "convert"}),
            {"group": group, "failed_before": "-1s"},
        ],
        "POST /api/v1/routes/{config}/{route}/pause": [
            {"reason": "repair", "seconds": 1},
            {"reason": "repair", "seconds": 1.5},
        ],
        "POST /api/v1/dead-letters/resend/plan": [{"route": "convert"}, {"group": group}],
        "POST /api/v1/causes/{cause}/acknowledge": [
            {"reason": "known", "until": "docs@9"},
            {"reason": "known", "requested_by": "ann", "until": "2126-01-31"},
        ],
    }
    return bodies | {
        "execution_id": ended,
        "other_execution_id": ended,
        "cancel execution_id": waiting,
        "control replay_batch_id": continuing,
        "cancel replay_batch_id": cancelled,
        "from_execution_id": ended,
        "parent": ended,
        "execution": ended,
        "replay_batch_id": [batch],
        "delivery_id": [d["delivery_id"] for d in deployment.items(f"/replays/{batch}/deliveries")],
        "revision": [1],
        "plan_id": [plan["plan_id"]],
        "correlation_id": messages,
        "dead correlation_id": dead,
        "name": ["docs"],
        "spare name": ["spare"],
        "dataset name": ["docs"],
        "dataset delivery_id": [d["delivery_id"] for d in deployment.items("/datasets/docs/deliveries")],
        "dataset config": ["docs"],
        "dataset stage": ["segments", "markdown_converted"],
        "dataset path": ["guide/page/0001.md"],
        "n": [1, 2],
        "at": [1, 2],
        "dataset since": [0, 1, 2],
        "dataset until": [1, 2],
        "version": [1, 2],
        "queue": ["docs.convert", "spare.out"],
        "object_key": [o["key"] for o in objects],
        "key": [o["key"] for o in objects],
        "stage": ["input", "segments"],
        "path": ["guide", "guide/page.html"],
        "route": ["convert", "index"],
        "group": [group],
        "cause": causes,
        "adapter": ["html_to_markdown@1", "html_to_markdown@sha256:0"],
        "made_by": ["html_to_markdown=1", "worker:w1"],
        "state": ["open", "all"],
        "text": [run, dead[0][-8:], "nightly", "latest", "docs", objects[0]["key"]],
        "status": ["dead", "completed", "failed"],
        "config": ["docs"],
        "kind": ["run", "replay"],
        "tag": ["nightly"],
        "index": ["search.db"],
        "words": ["replay", 'c++ AND "'],
        "limit": [1, 2, 1000],
    }


def _require_keys(deployment: Deployment, pools: Pools) -> dict[str, str]:
    """Create the key of an administrator, and keys and sessions that may end. Return headers of the first."""
    root = deployment.cli("keys", "create", "root", "--role", "admin")["key"]
    keys = [deployment.cli("keys", "create", f"spare-{n}", "--role", "admin")["key"] for n in range(3)]
    url = f"{deployment.url}/api/v1"
    deployment.until(
        lambda: httpx.get(f"{url}/executions", trust_env=False).status_code == 401,
        "the server to require keys",
    )
    with httpx.Client(headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False) as browser:
        for key in (root, keys[0]):
            browser.cookies.clear()
            assert browser.post(f"{deployment.url}/login", data={"key": key}).status_code == 303
    headers = {"Authorization": f"Bearer {root}"}
    found = httpx.get(f"{url}/sessions", headers=headers, trust_env=False).json()["items"]
    pools["session"] = [one["id"] for one in found]
    pools["key name"] = [f"spare-{n}" for n in range(3)]
    pools["POST /api/v1/keys"] = [{"name": f"new-{n}", "scopes": ["read"]} for n in range(3)]
    return headers


class Fuzzed:
    """Sends requests and collects the results.

    Attributes:
        answers: the number of responses by status, by operation.
        faults: the first failure of the checks, by operation.
        cursors: cursors that lists returned, by operation.

    Args:
        headers: of each request.
    """

    def __init__(self, url: str, pools: Pools, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._pools = pools
        self.answers: dict[str, Counter[int]] = defaultdict(Counter)
        self.faults: dict[str, str] = {}
        self.cursors: dict[str, list[str]] = defaultdict(lambda: ["bm9uZQ"])

    def ask(self, operation: APIOperation, mode: GenerationMode, examples: int) -> None:
        try:
            cases = operation.as_strategy(generation_mode=mode)
        except Unsatisfiable:
            return  # no request can be invalid

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize="PLAYHEAD_TEST_EXAMPLES" not in os.environ,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def run(data: st.DataObject) -> None:
            case = data.draw(cases)
            if mode is GenerationMode.POSITIVE:
                self._use_existing_names(case, data)
            self._ask(case)

        try:
            run()
        except (Unsatisfiable, pytest.skip.Exception):
            pass
        except (Exception, BaseExceptionGroup) as exc:
            self.faults.setdefault(f"{operation.label} ({mode.value})", _text_of(exc))

    def send(self, operation: APIOperation, examples: int) -> None:
        """Send valid requests that name existing objects, and only count the answers."""

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def run(data: st.DataObject) -> None:
            case = data.draw(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
            self._use_existing_names(case, data)
            answer = case.call(base_url=self._url, timeout=SECONDS, headers=self._headers)
            self.answers[operation.label][answer.status_code] += 1

        run()

    def _ask(self, case: Case) -> None:
        answer = case.call(base_url=self._url, timeout=SECONDS, headers=self._headers)
        self.answers[case.operation.label][answer.status_code] += 1
        if answer.status_code == 200 and answer.headers.get("content-type", [""])[0] == "application/json":
            found = answer.json()
            if isinstance(found, dict):
                if cursor := found.get("next_cursor"):
                    self.cursors[case.operation.label].append(cursor)
                if receipt := found.get("receipt"):
                    self._pools["POST /api/v1/queues/{queue}/remove"].append({"receipt": receipt})
        case.validate_response(
            answer,
            # A value that is not a string is encoded as YAML text, so it is valid.
            excluded_checks=[positive_data_acceptance]
            + [negative_data_rejection] * (case.media_type == "application/yaml"),
            transport_kwargs={"base_url": self._url, "timeout": SECONDS, "headers": self._headers},
        )

    def _use_existing_names(self, case: Case, data: st.DataObject) -> None:
        label = case.operation.label
        for values in (case.path_parameters, case.query):
            for name in values or {}:
                there = data.draw(_SOME)
                pool = self.cursors[label] if name == "cursor" else self._pool(label, name)
                if pool and there:
                    values[name] = pool[there % len(pool)]
        if label == "GET /api/v1/affected" and data.draw(_SOME):
            case.query = {"adapter": self._pools["adapter"][0]}  # one of two parameters, which no schema says
        there = data.draw(_SOME)
        bodies = [b for b in self._pools.get(label, []) if _fits(b, case.media_type)]
        if bodies and there:
            case.body = bodies[there % len(bodies)]

    def _pool(self, label: str, name: str) -> list[Any]:
        if "/keys/" in label:
            return self._pools["key name"]
        if name == "replay_batch_id" and not label.startswith("GET") and not label.endswith("/send"):
            return self._pools[f"{'cancel' if label.endswith('/cancel') else 'control'} {name}"]
        if label.endswith("activate"):
            return self._pools.get(f"spare {name}", [])
        if "/datasets/" in label:
            return self._pools.get(f"dataset {name}") or self._pools.get(name, [])
        if label.endswith("/cancel"):
            return self._pools.get(f"cancel {name}", [])
        if "dead-letters" in label:
            return self._pools.get(f"dead {name}") or self._pools.get(name, [])
        return self._pools.get(name, [])


def _fits(body: Any, kind: str | None) -> bool:
    return isinstance(body, str) == (kind == "application/yaml")


def _text_of(exc: BaseException) -> str:
    """Return the text of an exception, or of all exceptions of a group."""
    parts = [str(part) for part in getattr(exc, "exceptions", [exc])]
    return f"{type(exc).__name__}: " + "\n".join(parts)


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    # Received messages can be removed until their visibility expires.
    with open_deployment(
        VISIBILITY_SECONDS="600", WEBHOOK_HOSTS="localhost:1", WEBHOOK_SECRET="whsec_" + "A" * 32
    ) as made:
        yield made


@pytest.mark.slow
def test_every_operation_answers_as_the_schema_says_and_succeeds_once(deployment: Deployment):
    pools = _demo(deployment)
    headers = _require_keys(deployment, pools)
    fuzzed = Fuzzed(deployment.url, pools, headers)
    schema = schemathesis.openapi.from_url(f"{deployment.url}/openapi.json", headers=headers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Operations that stop work come last.
        operations = sorted(
            (
                found.ok()
                for found in schema.get_all_operations()
                if isinstance(found, Ok) and found.ok().label != ENDLESS
            ),
            key=lambda operation: operation.label.endswith(("/cancel", "/resend", "activate")),
        )
        for operation in operations:
            fuzzed.ask(operation, GenerationMode.POSITIVE, EXAMPLES)
            if operation.label not in _ANY_NAME:
                fuzzed.ask(operation, GenerationMode.NEGATIVE, EXAMPLES // 3)

    print(f"{sum(map(Counter.total, fuzzed.answers.values()))} requests")
    assert not fuzzed.faults, "\n\n".join(f"{label}: {detail}" for label, detail in fuzzed.faults.items())
    assert len(fuzzed.answers) == schema.statistic.operations.total - 1
    never = [label for label, answers in fuzzed.answers.items() if not any(200 <= s < 300 for s in answers)]
    # Few generated bodies select executions in a valid way. `test_prune.py` has those that do.
    never = [label for label in never if label != "POST /api/v1/prune"]
    assert not never, f"no response with 2xx from {never}: {[fuzzed.answers[label] for label in never]}"
    assert all(process.code is None for process in deployment.processes if process.url)


READS = ("GET ", "HEAD ")


@pytest.mark.slow
def test_a_key_that_may_read_changes_nothing(deployment: Deployment):
    """Requests of a key with the scope `read`: no change succeeds, and no change is recorded for the key."""
    pools = _demo(deployment)
    root = _require_keys(deployment, pools)
    key = deployment.cli("keys", "create", "reader", "--role", "viewer")
    headers = {"Authorization": f"Bearer {key['key']}"}
    schema = schemathesis.openapi.from_url(f"{deployment.url}/openapi.json", headers=headers)
    asked = Fuzzed(deployment.url, pools, headers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found in schema.get_all_operations():
            if isinstance(found, Ok) and not found.ok().label.startswith(READS):
                asked.send(found.ok(), EXAMPLES)

    assert len(asked.answers) > 20
    assert {label: counts for label, counts in asked.answers.items() if min(counts) < 400} == {}
    audit = httpx.get(
        f"{deployment.url}/api/v1/audit",
        params={"actor": key["record"]["id"], "limit": 1000},
        headers=root,
        trust_env=False,
    ).json()["items"]
    assert {entry["outcome"] for entry in audit} <= {"refused"}
