"""Nothing is lost and nothing doubled when processes are slow, stopped, killed, or many; nothing hangs."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.exactness import (
    audited,
    exact_deployment,
    inputs,
    is_writable,
    lay_out,
    pipeline,
    roots,
    stop_outside_a_transaction,
    strangers,
)
from tests.acceptance.processes import DEADLINE_SECONDS, STEADY, Deployment, is_stopped
from tests.counted import counts

pytestmark = pytest.mark.slow


def route(deployment: Deployment, name: str) -> Any:
    """A route as the API shows it, its queue's depth among it."""
    return next(r for r in deployment.items("/routes") if r["route"] == name)


def counted(deployment: Deployment) -> dict[str, int]:
    """How many messages are done and how many are not, of all executions, from rows."""
    [row] = deployment.rows(
        "SELECT count(*) FILTER (WHERE state = 3) completed, count(*) total FROM messages"
    )
    return {"completed": row["completed"], "pending": row["total"] - row["completed"]}


# -- slow adapters ---------------------------------------------------------------------------------


def test_what_takes_three_visibility_times_stays_hidden_and_is_worked_once() -> None:
    with exact_deployment(VISIBILITY_SECONDS="1", **STEADY) as deployment:
        workers = [deployment.start("worker"), deployment.start("worker")]
        deployment.serve()
        # Each worker runs one message and holds another in its buffer.
        deployment.apply(pipeline("slow", "slow", "seconds: 3", inbound="concurrency: 1, prefetch: 2"))
        execution = deployment.run("slow", inputs(4))
        deployment.until(
            lambda: route(deployment, "work")["in_flight"] == 4, "all four to be held", alive=workers
        )
        while counted(deployment)["pending"]:
            # If the machine stalls, the message may be visible for a moment until its holder continues. A
            # message without extensions would be visible for two seconds.
            deployment.until(
                lambda: route(deployment, "work")["queue_depth"] == 0, "it to be hidden again", seconds=1
            )
            time.sleep(0.05)
        deployment.ended(execution)
        assert audited(deployment, execution).again == 0


# -- processes that stop and wake ------------------------------------------------------------------


def test_a_server_that_is_stopped_in_a_replay_and_woken_after_it_changes_nothing() -> None:
    with exact_deployment() as deployment, ThreadPoolExecutor(1) as pool:
        heir, server = deployment.start("worker"), deployment.serve()
        deployment.apply(pipeline("take", "slow"))
        source = strangers(deployment, (f"{n // 100:03d}/{n:05d}.txt" for n in range(12_000)))
        there = sorted(
            str(p.relative_to(deployment.objects)) for p in (deployment.objects / source).rglob("*.txt")
        )
        progress = "SELECT ordinals, owner, epoch FROM jobs WHERE state = 'publishing'"
        # It may be quicker than we are: then it is asked again.
        for _ in range(10):
            answer = pool.submit(deployment.replay, source, "found", "take/hand_over")
            while not (rows := deployment.rows(progress)) or not rows[0]["ordinals"]:
                if answer.done():
                    break
            stop_outside_a_transaction(deployment, server)
            if (rows := deployment.rows(progress)) and rows[0]["ordinals"] < len(there):
                break
            server.resume()
            answer.result()
        assert rows, "the server could not be stopped in the middle of a replay"
        assert 0 < rows[0]["ordinals"] < len(there)

        deployment.until(
            lambda: not deployment.rows(progress), "another to take the replay over", alive=[heir]
        )
        assert not answer.done()
        server.resume()
        told = answer.result()
        assert told["status"] == "publishing_complete"
        assert (told["objects_found"], told["objects_published"]) == (len(there), len(there))
        assert roots(deployment, told["execution_id"]) == there
        assert deployment.ended(told["execution_id"])["counts"]["completed"] == len(there)
        # What woke up learns that the job is another's, and goes on serving.
        deployment.until(lambda: "job_lost" in server.said, "the server to let the job go", alive=[server])
        again = deployment.replay(source, "found", "take/hand_over")
        assert roots(deployment, again["execution_id"]) == there


def test_a_worker_that_is_stopped_at_work_and_woken_after_it_changes_nothing() -> None:
    with exact_deployment(**STEADY) as deployment:
        halted, _ = deployment.start("worker"), deployment.serve()
        deployment.apply(pipeline("halting", "halting"))
        execution = deployment.run("halting", inputs(40, "halt"))

        def stands_still() -> bool:
            if not is_stopped(halted.popen.pid):
                return False
            if not is_writable(deployment):
                halted.resume()  # it was in a transaction: it stops itself again
                return False
            return True

        deployment.until(stands_still, "the worker to stop itself", alive=[halted])
        other = deployment.worker()
        deployment.ended(execution)
        seen = audited(deployment, execution)
        assert seen.again > 0
        other.stop()

        (deployment.data / "go").touch()
        halted.resume()
        deployment.until(
            lambda: "message_fenced" in halted.said, "the zombie to be turned away", alive=[halted]
        )
        audited(deployment, execution)
        [made] = [
            o
            for o in deployment.items("/storage/objects", execution_id=execution, stage="done")
            if "halt" in o["path"]
        ]
        assert deployment.stored(execution)[made["key"]] != b"the text of halt by attempt 1"
        # It is a worker like any other again.
        more = deployment.run("halting", inputs(10))
        deployment.ended(more)
        assert audited(deployment, more).again == 0


def test_a_reconciler_that_is_stopped_and_woken_after_its_lease_changes_nothing() -> None:
    # A lease longer than a stall of the machine. Otherwise the server may take it over.
    with exact_deployment(LEASE_SECONDS="5") as deployment:
        workers = [deployment.worker()]  # alone, so it holds the lease
        server = deployment.serve()
        deployment.apply(pipeline("moody", "moody", "seconds: 0.01"))
        first = deployment.run("moody", inputs(30))
        lease = "SELECT p.pid FROM leases l JOIN processes p ON p.id = l.owner WHERE l.name = 'reconciler'"
        [holder] = deployment.until(lambda: deployment.rows(lease), "the reconciler to have begun")
        assert holder["pid"] == workers[0].popen.pid
        stop_outside_a_transaction(deployment, workers[0])
        # From here on every retry that is due, and every message of the one that stands, is another's.
        workers.append(deployment.worker())
        second = deployment.run("moody", inputs(30))
        for execution in (first, second):
            deployment.ended(execution)
        assert deployment.rows(lease)[0]["pid"] in (server.popen.pid, workers[1].popen.pid)
        workers[0].resume()
        third = deployment.run("moody", inputs(30))
        deployment.ended(third)
        for execution in (first, second, third):
            audited(deployment, execution)


# -- messages that kill ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "crew",
    [
        pytest.param(("worker", "--processes", "2"), id="worker"),
        pytest.param(("serve", "--port", "0", "--workers", "1"), id="serve", marks=pytest.mark.full),
    ],
)
def test_a_message_that_kills_its_worker_dies_and_its_neighbours_do_not(crew: tuple[str, ...]) -> None:
    with exact_deployment(**STEADY) as deployment:
        deployment.serve()
        deployment.apply(pipeline("deadly", "deadly", "seconds: 0.02", inbound="concurrency: 4", attempts=3))
        deployment.apply(pipeline("slow", "slow", "seconds: 1.5", attempts=3))
        # The slow ones, of another route, run whenever it strikes.
        innocent, execution = (
            deployment.run("slow", inputs(2)),
            deployment.run("deadly", inputs(30, "poison")),
        )
        deployment.until(
            lambda: len(roots(deployment, innocent) + roots(deployment, execution)) == 33, "all to be called"
        )
        deployment.start(*crew)
        ended = deployment.ended(execution)
        assert ended["status"] == "failed"
        assert ended["counts"] == counts(completed=90, failed=1)
        [dead] = deployment.items("/dead-letters")
        assert (dead["error_code"], dead["attempts"]) == ("worker_lost", 3)
        assert dead["input_key"] == f"{execution}/input/poison.txt"
        deployment.ended(innocent)
        audited(deployment, innocent)


# -- many at once ----------------------------------------------------------------------------------


def test_several_processes_that_start_at_once_on_a_new_home_add_up() -> None:
    with exact_deployment() as deployment:
        (deployment.folder / "moody.yaml").write_text(pipeline("moody", "moody", "seconds: 0.01"))
        lay_out(deployment, inputs(80))
        workers = [deployment.start("worker") for _ in range(3)]
        commands = [deployment.start("run", "moody.yaml", "pages") for _ in range(2)]
        server = deployment.serve()
        for command in commands:
            deployment.until(lambda c=command: c.code is not None, "a run to end")  # type: ignore[misc]
            assert command.code == 0, command.said
        assert [c["version"] for c in deployment.items("/configs")] == [1]
        deployment.run("moody", inputs(80))
        executions = [shown["execution_id"] for shown in deployment.items("/executions")]
        assert len(executions) == 3
        for execution in executions:
            ended = deployment.ended(execution)
            # Two outputs of each input, and two messages of each output.
            assert ended["counts"]["completed"] == ended["counts"]["total"] == 80 * (1 + 2 * 2)
            audited(deployment, execution)
        assert [process.stop() for process in (*workers, server)] == [0] * 4


@pytest.mark.full
def test_workers_that_are_killed_at_random_leave_exact_executions() -> None:
    with exact_deployment() as deployment:
        deployment.serve()
        deployment.apply(pipeline("moody", "moody", "seconds: 0.03", attempts=100))
        workers = [deployment.start("worker") for _ in range(4)]
        executions = []
        killed = 0
        began = time.monotonic()
        # A slow machine takes longer to start and kill this number of workers.
        while (passed := time.monotonic() - began) < 15 or (killed <= 5 and passed < 2 * DEADLINE_SECONDS):
            # There is always work: two runs of it wait.
            if counted(deployment)["pending"] < 120:
                executions.append(deployment.run("moody", inputs(60)))
            time.sleep(0.3)
            if at_work := [worker for worker in workers if "worker_started" in worker.said]:
                victim = random.choice(at_work)
                victim.kill()
                killed += 1
                workers[workers.index(victim)] = deployment.start("worker")
        lost = 0
        for execution in executions:
            ended = deployment.ended(execution)
            assert ended["counts"]["completed"] == ended["counts"]["total"] == 60 * (1 + 2 * 2)
            lost += audited(deployment, execution).again
        assert killed > 5
        assert lost > killed
