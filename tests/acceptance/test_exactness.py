"""Nothing is lost and nothing doubled when processes are slow, stopped, killed, or many; nothing hangs."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.acceptance.exactness import (
    audited,
    by_hand,
    exact_site,
    inputs,
    is_writable,
    lay_out,
    pipeline,
    put,
    roots,
    stop_outside_a_transaction,
    strangers,
)
from tests.acceptance.ledger import SIDECAR, Ledger
from tests.acceptance.processes import DEADLINE_SECONDS, STEADY, Site, is_stopped

pytestmark = pytest.mark.slow


def route(site: Site, name: str) -> Any:
    """A route as the API shows it, its queue's depth among it."""
    return next(r for r in site.items("/routes") if r["route"] == name)


def counted(site: Site) -> dict[str, int]:
    """How many messages are done and how many are not, of all executions, from rows."""
    [row] = site.rows("SELECT count(*) FILTER (WHERE state = 3) completed, count(*) total FROM messages")
    return {"completed": row["completed"], "pending": row["total"] - row["completed"]}


# -- slow adapters ---------------------------------------------------------------------------------


def test_what_takes_three_visibility_times_stays_hidden_and_is_worked_once() -> None:
    with exact_site(VISIBILITY_SECONDS="1", **STEADY) as site:
        workers = [site.start("worker"), site.start("worker")]
        site.serve()
        # Each worker runs one message and holds another in its buffer.
        site.apply(pipeline("slow", "slow", "seconds: 3", inbound="concurrency: 1, prefetch: 2"))
        execution = site.run("slow", inputs(4))
        site.until(lambda: route(site, "work")["in_flight"] == 4, "all four to be held", alive=workers)
        while counted(site)["pending"]:
            # Where the machine stands still, it may be there for a moment, until its holder is back. What
            # nobody extends is there for two seconds.
            site.until(lambda: route(site, "work")["queue_depth"] == 0, "it to be hidden again", seconds=1)
            time.sleep(0.05)
        site.ended(execution)
        assert audited(site, execution).again == 0


# -- listing ---------------------------------------------------------------------------------------


def test_after_a_kill_in_its_middle_a_listing_goes_on_after_its_cursor() -> None:
    before, after = "a/0000-late.txt", "z/9999-late.txt"
    with exact_site() as site:
        server = site.serve(fault="replay.recorded:3")
        site.apply(pipeline("take", "slow"))
        source = strangers(site, (f"{folder}/{n:04d}.txt" for folder in "amz" for n in range(2000)))
        there = sorted(str(p.relative_to(site.objects)) for p in (site.objects / source).rglob("*.txt"))
        with suppress(httpx.TransportError):
            site.replay(source, "found", "take/hand_over")
        site.struck(server)
        [job] = site.rows("SELECT e.id, j.cursor FROM jobs j JOIN executions e ON e.n = j.execution")
        replay = job["id"].hex()
        listed = roots(site, replay)
        assert listed == there[: len(listed)]
        assert 1000 < len(listed) < 5000
        # What came before the cursor meanwhile was not there when it was listed; what lies after it counts.
        for path in (before, after):
            put(site, f"{source}/found/{path}")
        (site.objects / there[0]).unlink()
        (site.objects / there[-1]).unlink()
        site.serve()
        [shown] = site.until(
            lambda: [r for r in site.items("/replays") if r["status"]], "the replay to be published"
        )
        assert roots(site, replay) == [*there[:-1], f"{source}/found/{after}"]
        found = len(there)
        assert (shown["objects_found"], shown["objects_published"], shown["objects_failed"]) == (
            found,
            found,
            0,
        )


# -- attempts that differ --------------------------------------------------------------------------


def test_of_attempts_that_differ_one_alone_leaves_outputs() -> None:
    with exact_site() as site:
        site.serve()
        site.apply(pipeline("shifting", "shifting", inbound="concurrency: 1, prefetch: 3"))
        # The first attempts are killed with some outputs stored and some bound, the third fails.
        killed = [site.worker(fault="worker.object:7")]
        execution = site.run("shifting", inputs(3))
        site.struck(killed[0])
        killed.append(site.worker(fault="worker.sidecar:6"))
        site.struck(killed[1])
        site.worker()
        site.ended(execution)

        assert audited(site, execution).again > 0
        shown = [o["key"] for o in site.cli("ls", execution, "done")["items"]]
        ledger = Ledger(site, execution)
        stored = [made.key for made in ledger.made if "/done/" in made.key]
        assert shown == stored
        left = [key for key in ledger.files if "/done/" in key and not key.endswith(SIDECAR)]
        assert len(left) > len(stored), "no attempt that was killed left anything: this test shows nothing"

        replay = site.replay(execution, "done", "shout")
        assert (replay["objects_found"], replay["objects_published"]) == (len(stored), len(stored))
        assert roots(site, replay["execution_id"]) == stored
        site.ended(replay["execution_id"])


# -- a broker that forgets -------------------------------------------------------------------------


def test_messages_that_somebody_purged_are_called_again_and_worked_once() -> None:
    with exact_site(**STEADY) as site:
        site.serve()
        site.apply(pipeline("purged", "slow", "seconds: 0.02"))
        execution = site.run("purged", inputs(60))
        site.until(lambda: route(site, "work")["queue_depth"] == 60, "all messages to be confirmed")
        with by_hand(site) as con:
            assert con.execute("DELETE FROM calls").rowcount == 60
        site.until(lambda: route(site, "work")["queue_depth"] == 60, "all messages to be called again")
        with by_hand(site) as con:
            assert con.execute("DELETE FROM calls WHERE n % 3 = 0").rowcount == 20
        workers = [site.start("worker"), site.start("worker")]
        site.until(lambda: counted(site)["completed"] > 50, "some to be done", alive=workers)
        with by_hand(site) as con:
            con.execute(
                "DELETE FROM calls WHERE visible_at = 0 AND queue IN "
                "(SELECT id FROM queues WHERE name <> 'purged.hand_over')"
            )
        site.ended(execution)
        assert audited(site, execution).again == 0


# -- processes that stop and wake ------------------------------------------------------------------


def test_a_server_that_is_stopped_in_a_replay_and_woken_after_it_changes_nothing() -> None:
    with exact_site() as site, ThreadPoolExecutor(1) as pool:
        heir, server = site.start("worker"), site.serve()
        site.apply(pipeline("take", "slow"))
        source = strangers(site, (f"{n // 100:03d}/{n:05d}.txt" for n in range(12_000)))
        there = sorted(str(p.relative_to(site.objects)) for p in (site.objects / source).rglob("*.txt"))
        progress = "SELECT ordinals, owner, epoch FROM jobs WHERE state = 'publishing'"
        # It may be quicker than we are: then it is asked again.
        for _ in range(10):
            answer = pool.submit(site.replay, source, "found", "take/hand_over")
            while not (rows := site.rows(progress)) or not rows[0]["ordinals"]:
                if answer.done():
                    break
            stop_outside_a_transaction(site, server)
            if (rows := site.rows(progress)) and rows[0]["ordinals"] < len(there):
                break
            server.resume()
            answer.result()
        assert rows, "the server could not be stopped in the middle of a replay"
        assert 0 < rows[0]["ordinals"] < len(there)

        site.until(lambda: not site.rows(progress), "another to take the replay over", alive=[heir])
        assert not answer.done()
        server.resume()
        told = answer.result()
        assert told["status"] == "publishing_complete"
        assert (told["objects_found"], told["objects_published"]) == (len(there), len(there))
        assert roots(site, told["execution_id"]) == there
        assert site.ended(told["execution_id"])["counts"]["completed"] == len(there)
        # What woke up learns that the job is another's, and goes on serving.
        site.until(lambda: "job_lost" in server.said, "the server to let the job go", alive=[server])
        again = site.replay(source, "found", "take/hand_over")
        assert roots(site, again["execution_id"]) == there


def test_a_worker_that_is_stopped_at_work_and_woken_after_it_changes_nothing() -> None:
    with exact_site(**STEADY) as site:
        halted, _ = site.start("worker"), site.serve()
        site.apply(pipeline("halting", "halting"))
        execution = site.run("halting", inputs(40, "halt"))

        def stands_still() -> bool:
            if not is_stopped(halted.popen.pid):
                return False
            if not is_writable(site):
                halted.resume()  # it was in a transaction: it stops itself again
                return False
            return True

        site.until(stands_still, "the worker to stop itself", alive=[halted])
        other = site.worker()
        site.ended(execution)
        seen = audited(site, execution)
        assert seen.again > 0
        other.stop()

        (site.data / "go").touch()
        halted.resume()
        site.until(lambda: "message_fenced" in halted.said, "the zombie to be turned away", alive=[halted])
        audited(site, execution)
        [made] = [
            o
            for o in site.items("/storage/objects", execution_id=execution, stage="done")
            if "halt" in o["path"]
        ]
        assert (site.objects / made["key"]).read_text() != "the text of halt by attempt 1"
        # It is a worker like any other again.
        more = site.run("halting", inputs(10))
        site.ended(more)
        assert audited(site, more).again == 0


def test_a_reconciler_that_is_stopped_and_woken_after_its_lease_changes_nothing() -> None:
    # A lease that outlasts a moment in which the machine stands still: else the server may take it.
    with exact_site(LEASE_SECONDS="5") as site:
        workers = [site.worker()]  # alone, so it holds the lease
        server = site.serve()
        site.apply(pipeline("moody", "moody", "seconds: 0.01"))
        first = site.run("moody", inputs(30))
        lease = "SELECT p.pid FROM leases l JOIN processes p ON p.id = l.owner WHERE l.name = 'reconciler'"
        [holder] = site.until(lambda: site.rows(lease), "the reconciler to have begun")
        assert holder["pid"] == workers[0].popen.pid
        stop_outside_a_transaction(site, workers[0])
        # From here on every retry that is due, and every message of the one that stands, is another's.
        workers.append(site.worker())
        second = site.run("moody", inputs(30))
        for execution in (first, second):
            site.ended(execution)
        assert site.rows(lease)[0]["pid"] in (server.popen.pid, workers[1].popen.pid)
        workers[0].resume()
        third = site.run("moody", inputs(30))
        site.ended(third)
        for execution in (first, second, third):
            audited(site, execution)


# -- messages that kill ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "crew", [("worker", "--processes", "2"), ("serve", "--port", "0", "--workers", "1")], ids="-".join
)
def test_a_message_that_kills_its_worker_dies_and_its_neighbours_do_not(crew: tuple[str, ...]) -> None:
    with exact_site(**STEADY) as site:
        site.serve()
        site.apply(pipeline("deadly", "deadly", "seconds: 0.02", inbound="concurrency: 4", attempts=3))
        site.apply(pipeline("slow", "slow", "seconds: 1.5", attempts=3))
        # The slow ones, of another route, run whenever it strikes.
        innocent, execution = site.run("slow", inputs(2)), site.run("deadly", inputs(30, "poison"))
        site.until(lambda: len(roots(site, innocent) + roots(site, execution)) == 33, "all to be called")
        site.start(*crew)
        ended = site.ended(execution)
        assert ended["status"] == "failed"
        assert ended["counts"] == {"pending": 0, "completed": 90, "failed": 1, "cancelled": 0, "total": 91}
        [dead] = site.items("/dead-letters")
        assert (dead["error_code"], dead["attempts"]) == ("worker_lost", 3)
        assert dead["input_key"] == f"{execution}/input/poison.txt"
        site.ended(innocent)
        audited(site, innocent)


# -- uploads ---------------------------------------------------------------------------------------


def test_a_run_that_is_killed_while_it_uploads_fails_and_publishes_nothing() -> None:
    with exact_site() as site:
        site.serve()
        site.apply(pipeline("slow", "slow"))
        lay_out(site, inputs(600))
        command = site.start("run", "slow", "pages", fault="submit.stored:400")
        site.struck(command)
        [shown] = site.items("/executions")
        ended = site.ended(shown["execution_id"])
        assert (ended["status"], ended["error"]["code"]) == ("failed", "upload_incomplete")
        assert ended["counts"]["total"] == 0
        assert roots(site, ended["execution_id"]) == []
        assert not site.rows("SELECT 1 FROM calls")
        assert list(site.items("/storage/objects", execution_id=ended["execution_id"])) == []
        # The same inputs again are a run of their own.
        site.worker()
        again = site.cli("run", "slow", "pages")
        assert again["counts"]["completed"] == again["counts"]["total"] == 600 * 3
        audited(site, again["execution_id"])


# -- many at once ----------------------------------------------------------------------------------


def test_two_servers_asked_at_once_make_two_exact_replays() -> None:
    with exact_site() as site, ThreadPoolExecutor(2) as pool:
        site.start("worker")
        first, second = [site.serve() and site.url for _ in range(2)]
        site.apply(pipeline("slow", "slow"))
        source = site.run("slow", inputs(300))
        site.ended(source)
        body = {"from_execution_id": source, "from_stage": "input", "to_route": "work"}

        def ask(url: str) -> Any:
            with httpx.Client(timeout=DEADLINE_SECONDS, trust_env=False) as http:
                return http.post(f"{url}/api/v1/replay", json=body).raise_for_status().json()

        answers = list(pool.map(ask, (first, second)))
        assert len({a["replay_batch_id"] for a in answers} | {a["execution_id"] for a in answers}) == 4
        for answer in answers:
            assert (answer["objects_found"], answer["objects_published"]) == (300, 300)
            site.ended(answer["execution_id"])
            audited(site, answer["execution_id"], source=source)


def test_several_processes_that_start_at_once_on_a_new_home_add_up() -> None:
    with exact_site() as site:
        (site.folder / "moody.yaml").write_text(pipeline("moody", "moody", "seconds: 0.01"))
        lay_out(site, inputs(80))
        workers = [site.start("worker") for _ in range(3)]
        commands = [site.start("run", "moody.yaml", "pages") for _ in range(2)]
        server = site.serve()
        for command in commands:
            site.until(lambda c=command: c.code is not None, "a run to end")  # type: ignore[misc]
            assert command.code == 0, command.said
        assert [c["version"] for c in site.items("/configs")] == [1]
        site.run("moody", inputs(80))
        executions = [shown["execution_id"] for shown in site.items("/executions")]
        assert len(executions) == 3
        for execution in executions:
            ended = site.ended(execution)
            # Two outputs of each input, and two messages of each output.
            assert ended["counts"]["completed"] == ended["counts"]["total"] == 80 * (1 + 2 * 2)
            audited(site, execution)
        assert [process.stop() for process in (*workers, server)] == [0] * 4


def test_workers_that_are_killed_at_random_leave_exact_executions() -> None:
    with exact_site() as site:
        site.serve()
        site.apply(pipeline("moody", "moody", "seconds: 0.03", attempts=100))
        workers = [site.start("worker") for _ in range(4)]
        executions = []
        killed = 0
        began = time.monotonic()
        # On a slow machine it takes longer until so many have been started and killed.
        while (passed := time.monotonic() - began) < 15 or (killed <= 5 and passed < 2 * DEADLINE_SECONDS):
            # There is always work: two runs of it wait.
            if counted(site)["pending"] < 120:
                executions.append(site.run("moody", inputs(60)))
            time.sleep(0.3)
            if at_work := [worker for worker in workers if "worker_started" in worker.said]:
                victim = random.choice(at_work)
                victim.kill()
                killed += 1
                workers[workers.index(victim)] = site.start("worker")
        lost = 0
        for execution in executions:
            ended = site.ended(execution)
            assert ended["counts"]["completed"] == ended["counts"]["total"] == 60 * (1 + 2 * 2)
            lost += audited(site, execution).again
        assert killed > 5
        assert lost > killed
