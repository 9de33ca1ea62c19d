"""Batches over real worker processes: lineage, attempts and dead letters stay those of each item."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS, SETTINGS, variables
from tests.acceptance.shell import Shell
from tests.program import Program

STEPS = """
import json, os, time
from collections.abc import Sequence
from pathlib import Path
from playhead import Context, Item, Reject, adapter

@adapter("embed", batch=25, produces="application/json", wait_seconds=0.2)
def embed(items: Sequence[Item], ctx: Sequence[Context]) -> list[object]:
    with open("calls.txt", "a") as calls:
        calls.write(f"{len(items)}\\n")
    if Path("slow").exists():
        time.sleep(60)
    for item in items:
        if item.path == "0013.txt" and Path("poison").exists():
            os.abort()
        if item.path == "0017.txt" and Path("bad").exists():
            raise ValueError("400 Bad Request")
    return [
        Reject("empty")
        if item.path == "0019.txt"
        else json.dumps({"text": item.text, "attempt": own.attempt})
        for item, own in zip(items, ctx)
    ]

@adapter("keep")
def keep(item: Item) -> bytes:
    return item.data
"""
CONFIG = """
version: "1.0"
name: vectors
entry: embed
routes:
  embed:
    inbound: {concurrency: 2}
    adapters: [{type: embed}]
    outbound: {stage: vectors, to: [keep]}
  keep:
    adapters: [{type: keep}]
    outbound: {stage: kept}
error_handling: {max_attempts: 4, retry_delay_seconds: 0.1}
"""
LIMITS = """
    timeout_seconds: 1
    inbound: {concurrency: 3}
"""
INPUTS = 60


@pytest.fixture
def ph(tmp_path: Path) -> Shell:
    files = {f"in/{n:04}.txt": f"text {n}" for n in range(INPUTS)}
    shell = Shell(tmp_path, files | {"steps.py": STEPS, "vectors.yaml": CONFIG})
    shell.env |= variables(SETTINGS)
    return shell


def calls(ph: Shell) -> list[int]:
    return [int(line) for line in (ph.folder / "calls.txt").read_text().split()]


def dead(ph: Shell) -> dict[str, str]:
    """The error codes of dead letters, by the path of their input."""
    return {
        one["input_key"].rpartition("/")[2]: one["error_code"]
        for one in ph.json("dead-letters", "list")["items"]
    }


def test_items_share_calls_and_nothing_else(ph: Shell):
    (ph.folder / "bad").touch()
    assert ph("run", "vectors.yaml", "in")[0] == 1

    assert dead(ph) == {"0017.txt": "adapter_error", "0019.txt": "rejected"}
    assert ph.json("show", "latest")["counts"]["completed"] == 2 * (INPUTS - 2)
    assert json.loads(ph("cat", "latest/vectors/0021.json")[1]) == {"text": "text 21", "attempt": 1}
    inputs = [link["input_key"] for link in ph.json("lineage", "latest/kept/0021.json", "--up")["items"]]
    assert [key.partition("/")[2] for key in inputs] == ["input/0021.txt", "vectors/0021.json"]
    assert max(calls(ph)) == 25
    # The bad item fails 4 times, and each time about log2(25) steps find it.
    assert len(calls(ph)) <= INPUTS / 25 + 1 + 4 * (2 * 5 + 1)


def in_a_call(ph: Shell) -> Program:
    """A worker that has begun to call the step."""
    worker = ph.start("worker", stdout=DEVNULL, stderr=DEVNULL)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (ph.folder / "calls.txt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return worker


def test_a_killed_worker_loses_no_item_of_a_batch(ph: Shell):
    (ph.folder / "slow").touch()
    ph("run", "vectors.yaml", "in", "--detach")
    worker = in_a_call(ph)
    worker.kill()
    worker.wait()
    (ph.folder / "slow").unlink()
    ph("worker", "--until-idle")

    assert dead(ph) == {"0019.txt": "rejected"}
    assert ph.json("show", "latest")["counts"]["completed"] == 2 * (INPUTS - 1)


def test_an_item_that_kills_its_worker_is_found_and_harms_no_other_item(ph: Shell):
    (ph.folder / "poison").touch()
    ph("run", "vectors.yaml", "in", "--detach")
    for _ in range(6):
        if ph("worker", "--until-idle")[0] in (0, 1):
            break

    assert dead(ph) == {"0013.txt": "worker_lost", "0019.txt": "rejected"}
    assert ph.json("show", "latest")["counts"]["completed"] == 2 * (INPUTS - 2)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_batch_that_blocks_its_event_loop_ends_its_worker(ph: Shell, stopped: bool):
    steps, config = ph.folder / "steps.py", ph.folder / "vectors.yaml"
    steps.write_text(STEPS.replace("def embed", "async def embed"))
    config.write_text(CONFIG.replace("    inbound: {concurrency: 2}", LIMITS))
    (ph.folder / "slow").touch()
    ph("run", "vectors.yaml", "in", "--detach")
    worker = in_a_call(ph)
    if stopped:
        worker.terminate()

    assert worker.wait(20) == 1
    assert len(calls(ph)) == 1
