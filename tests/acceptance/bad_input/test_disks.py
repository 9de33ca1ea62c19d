"""Full and read-only disks, at every write: the answer says what to do, nothing is lost, and all goes on."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.bad_input.disks import DiskDeployment, open_disk_deployment
from tests.acceptance.ledger import Ledger
from tests.acceptance.processes import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

UNREACHABLE = 5
LARGE = 96 << 10

# One attempt: what the disk does must spend none.
DOCS = """
version: "1.0"
name: docs
entry: thirds
error_handling: {max_attempts: 1}
routes:
  thirds:
    inbound: {concurrency: 4}
    adapters: [{type: thirds}]
    outbound: {stage: thirds, to: [shout, theirs]}
  shout:
    adapters: [{type: shout}]
    outbound: {stage: shouted}
  theirs:
    external: true
"""
INDEX = """
version: "1.0"
name: indexed
entry: index
error_handling: {max_attempts: 2, retry_delay_seconds: 0.05}
routes:
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""


def inputs(count: int, size: int = 20) -> dict[str, bytes]:
    return {f"{n:04}.txt": f"page {n} ".encode().ljust(size, b"x") for n in range(count)}


def ask(deployment: DiskDeployment, method: str, path: str, **sent: Any) -> httpx.Response:
    with httpx.Client(base_url=f"{deployment.url}/api/v1", timeout=DEADLINE_SECONDS, trust_env=False) as http:
        return http.request(method, path, **sent)


def post_run(deployment: DiskDeployment, files: dict[str, bytes], config: str = "docs") -> httpx.Response:
    return ask(
        deployment, "POST", f"/configs/{config}/run", files=[("files", each) for each in files.items()]
    )


def refused(answer: httpx.Response, code: str, *words: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (503, code), body
    assert not [word for word in words if word not in body["detail"]], body["detail"]
    assert "Traceback" not in answer.text


def exact(deployment: DiskDeployment, execution: str, route: str, source: str | None = None) -> None:
    """Everything ended, once, as recorded, and the API counts the same."""
    findings = Ledger(deployment, execution, source=source).audit(route=route)
    assert findings.exact, str(findings)


def no_temporary_files(deployment: DiskDeployment) -> None:
    """No temporary file remains. The check for free space creates one for a moment."""
    deployment.until(
        lambda: not list((deployment.objects / ".tmp").iterdir()), "the temporary files to be gone"
    )


def test_inputs_that_have_no_room_are_refused_and_the_next_are_taken():
    with open_disk_deployment("home/objects", "2m") as deployment:
        deployment.serve()
        deployment.worker()
        deployment.apply(DOCS)
        kept = deployment.run("docs", inputs(3))
        deployment.ended(kept)
        before = deployment.stored(kept)
        (deployment.folder / "pages").mkdir()
        for path, data in inputs(8, LARGE).items():
            (deployment.folder / "pages" / path).write_bytes(data)
        deployment.disk.fill(leave=2 * LARGE)

        refused(post_run(deployment, inputs(8, LARGE)), "store_full", "free some space", "objects")
        for more in (["--detach"], [], ["--server", deployment.url]):
            body = deployment.cli("run", "docs", "pages", *more, code=UNREACHABLE)
            assert body["error_code"] == "store_full"
            assert "free some space" in body["detail"]
        tried = [e for e in deployment.items("/executions") if e["execution_id"] != kept]
        assert [e["status"] for e in tried] == ["cancelled"] * 4
        assert [e["counts"]["total"] for e in tried] == [0] * 4
        for each in tried:
            assert list(deployment.items("/storage/objects", execution_id=each["execution_id"])) == []
        assert deployment.get("/system/health")["status"] in ("ok", "degraded")
        no_temporary_files(deployment)

        deployment.disk.make_room()
        again = deployment.run("docs", inputs(4, LARGE // 8))
        deployment.ended(again)
        for execution in (kept, again):
            exact(deployment, execution, "thirds")
        assert deployment.stored(kept) == before


@pytest.mark.parametrize("leave", [0, 12 << 10], ids=["no room for a sidecar", "none for the object"])
def test_outputs_that_have_no_room_wait_for_it_and_spend_no_attempt(leave: int):
    with open_disk_deployment("home/objects", "16m") as deployment:
        deployment.serve()
        deployment.apply(DOCS)
        execution = deployment.run("docs", inputs(8, LARGE))
        deployment.until(lambda: len(deployment.rows("SELECT 1 FROM dispatches")) == 8, "the publishing")
        deployment.disk.fill(leave=leave)
        worker = deployment.worker()
        deployment.until(
            lambda: "free some space" in worker.said, "the worker to log the full disk", alive=[worker]
        )
        time.sleep(0.5)
        shown = deployment.get(f"/executions/{execution}")
        assert (shown["status"], shown["counts"]["failed"]) == ("running", 0)
        assert [o["stage"] for o in deployment.items("/storage/objects", execution_id=execution)] == [
            "input"
        ] * 8
        no_temporary_files(deployment)
        # What needs no room goes on.
        replay = deployment.replay(execution, "input", "theirs")
        assert (replay["objects_published"], replay["status"]) == (8, "publishing_complete")

        deployment.disk.make_room()
        assert deployment.ended(execution)["status"] == "completed"
        deployment.ended(replay["execution_id"])
        exact(deployment, execution, "thirds")
        exact(deployment, replay["execution_id"], "theirs", execution)
        assert worker.stop() == 0


def _full_catalog(deployment: DiskDeployment) -> Callable[[], None]:
    """Fill the catalog's disk, and its write-ahead log with it; returns how to make room."""
    deployment.disk.fill()
    # What the log has room for is still written: until it is used up, a full disk goes unnoticed.
    numbers = itertools.count()  # existing objects are not written

    def fails() -> bool:
        large = DOCS.replace("docs", f"extra{next(numbers)}") + "#" * 900_000
        return post_config(deployment, large).status_code == 503

    deployment.until(fails, "a write to fail")
    return deployment.disk.make_room


def post_config(deployment: DiskDeployment, source: str) -> httpx.Response:
    return ask(deployment, "POST", "/configs", content=source, headers={"Content-Type": "application/yaml"})


def test_a_catalog_on_a_full_disk_refuses_writes_answers_reads_and_recovers():
    with open_disk_deployment("catalog", "16m") as deployment:
        server = deployment.serve()
        deployment.apply(DOCS)
        worker = deployment.worker()
        kept = deployment.run("docs", inputs(3))
        deployment.ended(kept)
        stages = deployment.get(f"/executions/{kept}/stages")

        make_room = _full_catalog(deployment)
        large = {"content": DOCS.replace("docs", "more") + "#" * 900_000}
        refused(
            ask(deployment, "POST", "/configs", **large, headers={"Content-Type": "application/yaml"}),
            *("catalog_unavailable", "catalog", "is full: free"),
        )
        answer = post_run(deployment, inputs(5_000))
        refused(answer, "catalog_unavailable", "is full: free")
        assert deployment.get(f"/executions/{kept}")["counts"]["completed"] == 12 + 9
        assert deployment.get(f"/executions/{kept}/stages") == stages
        assert len(list(deployment.items("/storage/objects", execution_id=kept, stage="shouted"))) == 9
        assert (server.code, worker.code) == (None, None)

        make_room()
        again = deployment.run("docs", inputs(60))
        deployment.ended(again)
        for execution in (kept, again):
            exact(deployment, execution, "thirds")

        def given_up() -> bool:
            tried = [e for e in deployment.items("/executions") if e["execution_id"] not in (kept, again)]
            return [(e["status"], e["counts"]["total"]) for e in tried] in ([], [("cancelled", 0)])

        deployment.until(given_up, "the run that was refused to be given up")
        names = [c["name"] for c in deployment.items("/configs")]
        assert [name for name in names if not name.startswith("extra")] == ["docs"]


def test_work_and_a_replay_that_meet_a_full_catalog_in_the_middle_end_exact():
    with open_disk_deployment("catalog", "48m", SETTLE_SECONDS="1") as deployment:
        deployment.serve()
        deployment.apply(DOCS.replace("{type: thirds}", "{type: thirds, config: {gate: full}}"))
        workers = [deployment.worker(), deployment.worker()]
        source = deployment.run("docs", inputs(600))
        answers: list[httpx.Response] = []
        body = {"from_execution_id": source, "from_stage": "input", "to_route": "theirs"}
        replaying = threading.Thread(
            target=lambda: answers.append(ask(deployment, "POST", "/replay", json=body))
        )
        deployment.disk.fill(leave=300_000)
        (deployment.data / "full").touch()
        replaying.start()
        deployment.until(lambda: any("is full: free" in w.said for w in workers), "a worker to log it")
        time.sleep(3)  # longer than it takes to be dead
        deployment.disk.make_room()
        replaying.join(DEADLINE_SECONDS)
        [answer] = answers
        assert (answer.status_code, answer.json().get("error_code")) in (
            *((200, None), (503, "replay_continues"), (503, "catalog_unavailable")),
        ), answer.text

        assert deployment.ended(source, seconds=2 * DEADLINE_SECONDS)["status"] == "completed"
        exact(deployment, source, "thirds")
        replays = list(deployment.items("/replays"))
        assert len(replays) == (answer.json().get("error_code") != "catalog_unavailable")
        for each in replays:
            deployment.ended(each["execution_id"])
            exact(deployment, each["execution_id"], "theirs", source)
        assert [worker.stop() for worker in workers] == [0, 0]


def test_an_index_that_has_no_room_says_so_and_holds_each_text_once_when_it_was_sent_again():
    with open_disk_deployment("home/data", "1m") as deployment:
        server = deployment.serve()
        deployment.worker()
        deployment.apply(INDEX)
        first = deployment.run("indexed", inputs(3))
        deployment.ended(first)
        deployment.disk.fill()
        large = dict.fromkeys(inputs(4), b" ".join(b"word%06d" % n for n in range(10_000)))
        execution = deployment.run("indexed", large)
        assert deployment.ended(execution)["status"] == "failed"
        letters = list(deployment.items("/dead-letters", execution_id=execution))
        assert letters
        for letter in letters:
            assert (letter["error_code"], letter["attempts"]) == ("retries_exhausted", 2)
            assert "search.db cannot be written" in letter["error"]
            assert "free some space" in letter["error"]
            assert "send" in letter["error"]
        found = deployment.get("/search", index="search.db", words="page", execution=first, limit=100)
        assert len(found["items"]) == 3, "existing executions can still be read"
        assert server.code is None

        deployment.disk.make_room()
        deployment.disk.remount("rw,size=8m")
        deployment.post("/dead-letters/resend", json={"execution_id": execution})
        assert deployment.ended(execution)["status"] == "completed"
        found = deployment.get(
            "/search", index="search.db", words="word000007", execution=execution, limit=100
        )
        assert sorted(hit["path"] for hit in found["items"]) == sorted(large)


def test_an_upload_that_has_no_room_while_it_comes_in_is_refused():
    with open_disk_deployment("temporary", "1m") as deployment:
        deployment.environment = {**deployment.environment, "TMPDIR": str(deployment.folder / "temporary")}
        deployment.serve()
        deployment.apply(DOCS)
        refused(
            post_run(deployment, {"a.txt": b"x" * 3_000_000}),
            "store_full",
            "no room for the upload",
            "TMPDIR",
        )
        assert list(deployment.items("/executions")) == []
        assert post_run(deployment, inputs(3)).status_code == 202


COMMANDS = (
    *("executions", "run docs.yaml pages", "replay latest input theirs", "config apply docs.yaml"),
    *("worker --until-idle", "serve --port 0"),
)


def refused_everywhere(deployment: DiskDeployment, word: str, *commands: str) -> None:
    started = [deployment.start(*command.split(), "--json", stdout=subprocess.PIPE) for command in commands]
    for process in started:
        body = json.loads(process.popen.communicate(timeout=2 * DEADLINE_SECONDS)[0])
        assert (process.code, body["error_code"]) == (UNREACHABLE, "home_unwritable"), body
        assert word in body["detail"], body
        assert str(deployment.folder / "home") in body["detail"]
        assert word in process.said
        assert "Traceback" not in process.said


@pytest.fixture
def used() -> Any:
    """A home that is a disk of its own, on which a run and a replay have ended."""
    with open_disk_deployment("home", "4m") as deployment:
        (deployment.folder / "pages").mkdir()
        for path, data in inputs(3).items():
            (deployment.folder / "pages" / path).write_bytes(data)
        (deployment.folder / "docs.yaml").write_text(DOCS)
        run = deployment.cli("run", "docs.yaml", "pages")["execution_id"]
        deployment.cli("replay", "latest", "input", "theirs")
        yield deployment, run, deployment.stored(run)


def test_a_command_on_a_read_only_home_says_so_and_all_is_there_when_it_can_be_written(used: Any):
    deployment, run, before = used
    deployment.disk.remount("ro")
    refused_everywhere(deployment, "read-only file system: mount it read-write", *COMMANDS)
    assert deployment.cli("doctor", code=UNREACHABLE)["status"] == "failed"
    deployment.disk.remount("rw")
    assert deployment.cli("show", "latest:replay")["kind"] == "replay"
    assert deployment.stored(run) == before
    assert len(deployment.cli("executions")["items"]) == 2


def test_a_command_on_a_full_home_says_so_and_all_is_there_when_there_is_room(used: Any):
    deployment, run, before = used
    deployment.disk.fill()
    refused_everywhere(deployment, "is full: free", *COMMANDS)
    assert deployment.cli("doctor", code=UNREACHABLE)["status"] == "failed"
    deployment.disk.make_room()
    assert deployment.stored(run) == before
    assert len(deployment.cli("executions")["items"]) == 2
    assert deployment.cli("run", "docs", "pages")["status"] == "completed"


def test_a_home_that_can_not_be_begun_for_want_of_room_is_begun_when_there_is_some():
    with open_disk_deployment("home", "2m") as deployment:
        (deployment.folder / "pages").mkdir()
        (deployment.folder / "docs.yaml").write_text(DOCS)
        (deployment.folder / "pages" / "a.txt").write_text("x")
        deployment.disk.fill()
        refused_everywhere(deployment, "is full: free", "run docs.yaml pages", "serve --port 0")
        deployment.disk.make_room()
        assert deployment.cli("run", "docs.yaml", "pages")["status"] == "completed"
