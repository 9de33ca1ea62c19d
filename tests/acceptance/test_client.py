"""`playhead.connect()`: the same data from a home and from a server."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import playhead
from playhead.ids import uuid7
from playhead.model import Replay
from tests.acceptance.processes import Deployment, open_deployment
from tests.acceptance.shell import Shell

CONFIG = """
version: "1.0"
name: docs
entry: check
routes:
  check:
    adapters: [{type: html_to_markdown}]
    outbound: {stage: checked, to: [index]}
    error_handling: {max_attempts: 1}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
WATCHED = CONFIG.partition("  index:")[0].replace(", to: [index]", "") + "datasets: {pages: {}}\n"
PAGES = {"a.html": b"<p>one two", "b/c.html": b"<p>three", "bad.html": b"\xff\xfe\x00"}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with open_deployment() as made:
        made.serve()
        made.worker()
        made.apply(CONFIG)
        made.ended(made.run("docs", PAGES, tag="nightly"))
        yield made


@pytest.fixture(params=["home", "server"])
def client(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[playhead.Client]:
    at_home: dict[str, Any] = {"home": deployment.home}
    where = at_home if request.param == "home" else {"server": deployment.url}
    with playhead.connect(**where) as made:
        yield made


def test_executions_are_read(client: playhead.Client):
    [run] = client.runs()
    assert (run.kind, run.status, run.tags) == ("run", "failed", ["nightly"])
    assert client.execution() == client.execution("tag:nightly") == client.execution(run.execution_id) == run
    assert client.execution(str(run.execution_id)[-8:]) == run
    assert client.executions(tag="none") == client.runs(status="completed") == client.runs(limit=0) == []
    assert client.runs(since="-1h") == client.executions(since=run.created_at) == [run]
    assert client.runs(until=run.created_at) == client.executions(until="-1h") == []
    assert [(one.route, one.counts.completed) for one in client.routes()] == [("check", 2), ("index", 2)]
    assert [(one.stage, one.objects) for one in client.stages()] == [("input", 3), ("checked", 2)]


def test_objects_are_listed_and_read(client: playhead.Client):
    checked = client.objects("latest", "checked")
    assert [one.path for one in checked] == ["a.md", "b/c.md"]
    assert client.objects("latest", "checked", limit=1) == checked[:1]
    assert client.objects("latest", "checked", "b") == checked[1:]
    assert len(client.objects()) == 5
    assert client.read("latest/input/bad.html") == PAGES["bad.html"]
    assert client.read_text(checked[0]) == client.read_text(checked[0].key) == "one two\n"
    assert [hit.path for hit in client.search("search.db", "three", "latest")] == ["b/c.md"]
    assert client.metadata(checked[0])["content_type"] == "text/markdown"
    assert checked[0].key in {one.key for one in client.object_versions(checked[0])}


def test_lineage_of_objects_and_messages_is_read(client: playhead.Client):
    [checked, _] = client.objects("latest", "checked")
    up = client.lineage(checked, "up")
    assert [(link.distance, link.route) for link in up] == [(0, "check")]
    both = client.lineage("latest/checked/a.md")
    assert [(link.distance, link.route) for link in both] == [(0, "check"), (1, "index")]
    assert client.lineage(up[0].correlation_id) == client.lineage(str(up[0].correlation_id)) == both
    assert client.lineage(checked, limit=1) == up
    for what in (checked, up[0].correlation_id):
        assert [one.route for one in client.lineage_summary(what).groups] == ["check", "index"]
        assert [one.route for one in client.lineage_counts(what).counts] == ["index"]
    assert len(client.messages()) == 5
    assert {one.route for one in client.messages(status="completed")} == {"check", "index"}


def test_dead_letters_are_read(client: playhead.Client):
    [letter] = client.dead_letters()
    assert client.dead_letters("latest", route="check") == [letter]
    assert client.dead_letters(route="index") == []
    shown = client.dead_letter(str(letter.correlation_id)[-8:])
    assert asdict(shown).items() >= asdict(letter).items()


def test_a_stage_is_replayed_and_waited_for(client: playhead.Client):
    before = len(client.replays())
    replay = client.replay("latest", "input", "check", "b")
    made = client.wait(replay.execution_id, timeout=60)
    assert (made.kind, made.status, made.counts.completed) == ("replay", "completed", 2)
    assert client.execution("latest:replay") == made
    [newest, *_] = client.replays("latest")
    assert (newest.replay_batch_id, len(client.replays())) == (replay.replay_batch_id, before + 1)


def test_a_replay_is_controlled_and_watched(client: playhead.Client):
    slow, key = playhead.RatePace(0.01), str(uuid7())
    replay = client.replay("latest", "input", "check", pace=slow, reason="why", key=key, detach=True)
    assert isinstance(replay, Replay)
    assert (replay.status, replay.pace, replay.reason) == (None, slow, "why")
    again = client.replay("latest", "input", "check", pace=slow, reason="why", key=key, detach=True)
    assert again.replay_batch_id == replay.replay_batch_id
    with pytest.raises(playhead.PlayheadError) as raised:
        client.replay("latest", "input", "check", key=key, detach=True)
    assert raised.value.code == "idempotency_key_reused"
    assert client.pause(replay).state == client.pause("latest").state == "paused"
    watching = client.watch(replay.execution_id)
    assert next(watching).state == "paused"
    assert client.pace(replay, playhead.DepthPace(500)).pace == playhead.DepthPace(500)
    assert client.pace(replay, slow).pace == slow  # so that it does not end before the answer to `resume`
    assert client.resume(replay).state in ("queued", "publishing")
    assert client.pace(str(replay.replay_batch_id), None).pace is None
    *_, last = watching
    assert last.state == "publishing_complete"
    assert last.work
    assert (last.work.pending, last.work.completed, last.work.failed) == (0, 4, 1)
    # Not equal in every field: the report is written meanwhile.
    assert client.retry(replay).replay_batch_id == client.retry("latest").replay_batch_id
    with pytest.raises(playhead.PlayheadError) as raised:
        client.cancel(replay)
    assert raised.value.code == "replay_ended"


def test_a_replay_is_cancelled(client: playhead.Client):
    replay = client.replay("latest", "input", "check", pace=playhead.RatePace(0.01), detach=True)
    assert client.cancel(replay).state == "cancelled"
    assert client.wait(replay.execution_id, timeout=60).status in ("completed", "cancelled")
    replay = client.replay("latest", "input", "check", pace=playhead.RatePace(0.01), detach=True)
    withdrawn = client.cancel(replay, withdraw=True)
    assert (withdrawn.state, withdrawn.work and withdrawn.work.pending) == ("cancelled", 0)


def test_a_replay_with_a_canary_is_held(client: playhead.Client):
    replay = client.replay(
        "latest", "input", "check", canary=playhead.Canary(2, 0.5), pace=playhead.RatePace(0.01), detach=True
    )
    assert next(iter(client.watch(replay.replay_batch_id))).hold_at == 2
    client.pause(replay)
    with pytest.raises(playhead.PlayheadError, match="has paused it"):
        client.resume(replay, canary=2)
    assert client.cancel(replay, withdraw=True).hold_at is None


def test_a_resend_is_planned(client: playhead.Client):
    planned = client.plan_resend(route="check")
    assert planned.letters == len(client.dead_letters(route="check"))
    assert [one.route for one in planned.routes] == ["check"]


def test_the_objects_of_a_cause_are_planned(client: playhead.Client):
    [cause] = client.causes(state=None)
    planned = client.plan_cause(cause.id)
    assert (planned.cause, planned.objects) == (cause.id, sum(one.objects for one in planned.plans))


def test_a_route_is_paused_and_resumed(client: playhead.Client):
    paused = client.pause_route("docs/check", "repair", seconds=60).wait
    assert paused
    assert (paused.is_paused, paused.reason) == (True, "repair")
    assert client.resume_route("docs/check").wait is None


def test_a_replay_with_a_guard_is_held(client: playhead.Client):
    replay = client.replay(
        "latest",
        "input",
        "check",
        pause_if=playhead.Guard(0.02, 2),
        pace=playhead.RatePace(0.01),
        detach=True,
    )
    assert next(iter(client.watch(replay.replay_batch_id))).hold_at == 2
    client.cancel(replay, withdraw=True)


def test_selected_objects_are_replayed(client: playhead.Client):
    failed = playhead.Selection(only="failed")
    assert client.replay("latest", "input", "check", selection=failed, version=1).objects_found == 1
    with pytest.raises(playhead.PlayheadError) as raised:
        client.replay("latest", "input", "check", selection=playhead.Selection(include=["*.pdf"]))
    assert raised.value.code == "selection_empty"


def test_errors_have_the_codes_of_the_api(client: playhead.Client):
    for ask, code in (
        (lambda: client.execution("tag:none"), "execution_not_found"),
        (lambda: client.read("latest/input/none"), "object_not_found"),
        (lambda: client.objects("latest", "none"), "stage_not_found"),
        (lambda: client.replay("latest", "input", "none"), "route_not_found"),
    ):
        with pytest.raises(playhead.PlayheadError) as raised:
            ask()
        assert raised.value.code == code


def test_the_end_of_an_item_is_explained(client: playhead.Client):
    bad = client.why("bad.html")
    assert (bad.outcome, [route.outcome for route in bad.routes]) == ("rejected", ["rejected", "not_reached"])
    assert client.why("checked/a.md", "tag:nightly") == client.why("a.md", stage="checked")
    with pytest.raises(playhead.PlayheadError) as raised:
        client.why("none.html")
    assert raised.value.code == "object_not_found"


def test_executions_are_compared(client: playhead.Client):
    run = client.execution("tag:nightly").execution_id
    assert (found := client.diff(run, run)).totals.same == 5
    assert [one.stage for one in found.stages] == ["input", "checked"]
    assert client.differences(run, run) == []
    assert [one.path for one in client.differences(run, run, "checked", state=None)] == ["a.md", "b/c.md"]


async def test_an_async_client_has_the_methods_of_the_blocking_one(deployment: Deployment):
    def methods(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")} - {"open"}

    assert methods(playhead.AsyncClient) == methods(playhead.Client)
    for where in ({"home": deployment.home}, {"server": deployment.url}):
        async with playhead.AsyncClient(**where) as client:
            [run] = await client.runs(tag="nightly")
            replay = await client.replay(run.execution_id, "input", "check", "b")
            assert isinstance(replay, Replay)
            assert (await client.wait(replay.execution_id, timeout=60)).status == "completed"
            assert [one.state async for one in client.watch(replay)][-1] == "publishing_complete"
    with pytest.raises(RuntimeError, match="not open"):
        await playhead.AsyncClient(deployment.home).runs()


@pytest.mark.parametrize("at", ["home", "server"])
def test_a_config_is_applied_and_run_and_its_stage_replayed_as_planned(at: str):
    with open_deployment() as made:
        made.serve()
        made.worker()
        where: dict[str, Any] = {"home": made.home} if at == "home" else {"server": made.url}
        with playhead.connect(**where) as client:
            applied = client.apply(CONFIG)
            assert client.apply(CONFIG) == applied == client.config("docs") == client.configs()[0]
            assert client.versions("docs") == [applied]
            assert client.validate(CONFIG.replace("entry: check", "entry: chekc"))[0].code == "E301"
            run = client.run("docs", {"new.html": "<p>four"}, tags=["planned"])
            assert client.wait(run.execution_id, timeout=60).counts.completed == 2
            assert [one.route for one in client.code(run.execution_id)] == ["check", "index"]
            assert client.totals(run.execution_id).stages[0].objects == 1
            plan = client.plan("tag:planned", "checked", "index")
            assert [one.key for one in client.planned(plan)] == [
                one.key for one in client.objects("tag:planned", "checked")
            ]
            assert client.plans()[0].plan_id == plan.plan_id
            replay = client.replay_plan(plan)
            assert isinstance(replay, Replay)
            assert replay.objects_published == 1
            client.wait(replay.execution_id, timeout=60)
            assert client.replay_state(replay).status == "publishing_complete"
            assert client.replay_plan(plan).replay_batch_id == replay.replay_batch_id
            assert client.pin("tag:planned").pinned
            assert not client.unpin("tag:planned").pinned
            assert client.prune(run.execution_id, dry_run=True).objects


def test_the_state_of_a_deployment_is_read(client: playhead.Client):
    assert "html_to_markdown" in {one.type for one in client.adapters()}
    assert {one.queue for one in client.queues()} == {"docs.check", "docs.index"}
    assert client.peek("docs.check") == []
    assert client.take("docs.check").items == []
    for pipeline in (client.pipeline(config="docs"), client.pipeline(client.runs()[0].execution_id)):
        assert [one.route for one in pipeline.routes] == ["check", "index"]
    assert "worker" in {one.kind for one in client.workers()}
    assert client.health().status == "ok"
    assert client.doctor().parts


def test_a_client_of_a_server_imports_neither_settings_nor_backends_nor_adapters():
    probe = (
        "import playhead, sys\n"
        "try: playhead.connect(server='http://127.0.0.1:1')\n"
        "except playhead.PlayheadError as exc: print(exc.code)\n"
        "heavy = ('pydantic', 'fastapi', 'sqlite3', 'yaml', 'typer', 'playhead.api', 'playhead.config',"
        " 'playhead.settings', 'playhead.bootstrap', 'playhead.backends', 'playhead.adapters')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["server_unavailable", "[]"]


async def test_a_client_works_while_an_event_loop_runs(client: playhead.Client):
    assert asyncio.get_running_loop().is_running()
    assert len(client.runs()) == 1


def test_a_closed_client_says_so_and_leaves_no_thread(client: playhead.Client):
    threads = [one for one in threading.enumerate() if one.name == "playhead"]
    client.close()
    client.close()
    assert not any(one.is_alive() for one in threads)
    with pytest.raises(RuntimeError, match="closed"):
        client.runs()


def test_a_call_in_another_thread_ends_when_the_client_is_closed(deployment: Deployment):
    errors: list[BaseException] = []

    def call(client: playhead.Client) -> None:
        try:
            while True:
                client.runs(limit=1)
        except RuntimeError as exc:
            errors.append(exc)

    for _ in range(10):
        client = playhead.connect(deployment.home)
        threads = [threading.Thread(target=call, args=[client], daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        client.close()
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
    assert {"closed" in str(error) for error in errors} == {True}
    assert len(errors) == 30


FORKED = """
import os, sys, playhead
client = playhead.connect(sys.argv[1])
child = os.fork()
if child == 0:
    try:
        client.runs()
    except RuntimeError as exc:
        print(exc, flush=True)
    client.close()
    with playhead.connect(sys.argv[1]) as own:
        print(len(own.runs()), flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], len(client.runs()))
"""


def test_a_fork_cannot_use_the_client_of_its_parent_and_opens_its_own(deployment: Deployment):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(deployment.home)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "this client was opened before a fork; connect again in each process",
        "1",
        "0 1",
    ], done.stderr


def test_waiting_ends_after_the_time_out(tmp_path: Path):
    shell = Shell(tmp_path, {"docs.yaml": CONFIG, "pages/a.html": "<p>a"})
    del shell.env["PLAYHEAD_ADAPTERS"]
    shell.json("run", "docs.yaml", "pages", "--detach")
    thresholds = gc.get_threshold()
    with playhead.connect(tmp_path / "home") as client:
        replay = client.replay("latest", "input", "check")
        said = f"execution {replay.execution_id} has not ended after 0.5 s: 0 of 1 messages are done"
        with pytest.raises(TimeoutError, match=said):
            client.wait(replay.execution_id, timeout=0.5)
    assert gc.get_threshold() == thresholds


def test_a_client_is_one_process_from_its_first_plan_or_replay_until_it_is_closed(tmp_path: Path):
    shell = Shell(tmp_path, {"docs.yaml": CONFIG, "pages/a.html": "<p>a"})
    del shell.env["PLAYHEAD_ADAPTERS"]
    shell.json("run", "docs.yaml", "pages", "--detach")
    with playhead.connect(tmp_path / "home") as client:
        left = client.replay("latest", "input", "check", detach=True)
        assert client.workers() == []
        plan = client.plan("latest", "input", "check")
        for replay in (client.replay_plan(plan), client.replay("latest", "input", "check")):
            assert replay.status == "publishing_complete"
        assert [one.kind for one in client.workers()] == ["client"]
        assert client.replay_state(left).status is None, "others publish a detached replay"
    with playhead.connect(tmp_path / "home") as client:
        assert client.workers() == []


def test_the_home_is_found_as_by_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shell = Shell(tmp_path, {"docs.yaml": CONFIG, "pages/a.html": "<p>a"})
    del shell.env["PLAYHEAD_HOME"], shell.env["PLAYHEAD_ADAPTERS"]
    monkeypatch.delenv("PLAYHEAD_HOME", raising=False)
    monkeypatch.chdir(tmp_path / "pages")
    with pytest.raises(playhead.PlayheadError) as raised:
        playhead.connect()
    assert raised.value.code == "home_missing"
    run = shell.json("run", "docs.yaml", "pages")
    with playhead.connect() as client:
        assert str(client.execution().execution_id) == run["execution_id"]
    with pytest.raises(TypeError, match="server cannot be combined"):
        playhead.connect("home", server="http://127.0.0.1:8080")


def test_a_server_that_is_not_there_is_an_error_of_connect():
    with pytest.raises(playhead.PlayheadError) as raised:
        playhead.connect(server="http://127.0.0.1:1")
    assert raised.value.code == "server_unavailable"


def test_an_unknown_status_is_an_error(deployment: Deployment):
    with (
        playhead.connect(deployment.home) as client,
        pytest.raises(ValueError, match="status 'done' is unknown; it is one of running, completed, failed"),
    ):
        client.runs(status="done")  # type: ignore[arg-type]


def test_a_text_that_is_not_a_time_is_an_error(deployment: Deployment):
    with (
        playhead.connect(deployment.home) as client,
        pytest.raises(ValueError, match="since: 'yesterday' is not a time: write RFC 3339 with an offset"),
    ):
        client.runs(since="yesterday")


def test_a_script_that_does_not_close_its_client_ends(deployment: Deployment):
    script = f"import playhead; print(len(playhead.connect({str(deployment.home)!r}).runs()))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_the_package_shows_its_public_names_and_imports_them_late():
    script = (
        "import sys, playhead; print(dir(playhead), [n for n in sys.modules if n.startswith('playhead.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'Client'" in done.stdout
    assert "'connect'" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_a_dataset_is_watched(client: playhead.Client, deployment: Deployment):
    # The last test: its runs are the latest ones from now on.
    name = "home" if client._client._server is None else "server"
    deployment.apply(WATCHED.replace("docs", name))
    run = deployment.run(name, {"a.html": PAGES["a.html"]})
    deployment.ended(run)

    watching = client.watch_dataset(f"{name}/pages")
    assert next(watching).current is None
    made = client.publish(f"{name}/pages", run)
    assert made.n == next(one for one in watching if one.current).current == 1
