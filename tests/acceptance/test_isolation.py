"""Steps with `isolation: process`: what goes wrong in a step harms neither the worker nor other messages."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest

import playhead
from playhead.bootstrap.isolation import starter
from playhead.errors import Unavailable
from playhead.settings import Settings
from playhead.steps.isolation import ChildStep
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell
from tests.stored import stored
from tests.waiting import eventually

STEPS = """
import gc, os, re, signal, subprocess, time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from playhead.steps.outputs import Returned
from playhead import Context, Item, Reject, Retry, adapter
from pydantic import BaseModel

MARK = lambda: None

class Odd(Exception):
    def __str__(self):
        raise SystemExit(3)

@adapter("work", produces="text/plain")
def work(item: Item, ctx: Context) -> str:
    ctx.log.warning("pid %s", os.getpid())
    match item.path:
        case "hang.txt":
            Path("hanging").write_text(str(os.getpid()))
            re.match(r"^(\\w+\\s?)*$", "word " * 30 + "!")
        case "crash.txt":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit.txt":
            os._exit(3)
        case "raise.txt":
            raise LookupError("no such thing")
        case "reject.txt":
            raise Reject("unreadable")
        case "wrong.txt":
            return {"a": 1}
        case "odd.txt":
            raise Odd(MARK)
        case "unsendable.txt":
            return [MARK]
        case "sleep.txt":
            Path("sleeping").write_text(str(os.getpid()))
            while not Path("awake").exists():
                time.sleep(0.1)
        case "fork.txt":
            if os.fork() == 0:
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "program.txt":
            program = subprocess.Popen(["sleep", "600"])
            Path("program").write_text(str(program.pid))
            program.wait()
        case "start.txt":
            sleeping = subprocess.Popen(["sleep", "600"])
            sleeping.terminate()
            sleeping.wait()
    return f"{item.text} {os.getpid()}"

@adapter("fork", produces="text/plain")
def fork(item: Item) -> str:
    with Path("pids").open("a") as pids:
        if os.fork() == 0:
            pids.write(f"{os.getpid()}\\n")
    return item.text

@adapter("forge", produces="text/plain")
def forge(item: Item) -> str:
    (connection,) = [one for one in gc.get_objects() if isinstance(one, Connection)]
    connection.send((0, [Returned(("outputs of another item",), True)]))
    return item.text

class Settings(BaseModel):
    greeting: str = "hello"

@adapter("greet", produces="text/plain")
class Greet:
    def __init__(self, config: Settings) -> None:
        self.greeting = config.greeting
        self.count = 0

    async def __call__(self, item: Item) -> str:
        self.count += 1
        return f"{self.greeting} {os.getpid()} {self.count}"

    async def close(self) -> None:
        Path(f"closed-{os.getpid()}").touch()

@adapter("many", batch=5, produces="text/plain")
def many(items: Sequence[Item]) -> list[str]:
    if any(item.path == "crash.txt" for item in items):
        os._exit(1)
    return [f"{item.text} of {len(items)}" for item in items]
"""
MEET = """

@adapter("meet")
def meet(item: Item) -> str:
    Path(f"met-{os.getpid()}").touch()
    until = time.monotonic() + 30
    while len(list(Path().glob("met-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    return str(os.getpid())
"""
CONFIG = """
version: "1.0"
name: iso
entry: work
routes:
  work:
    timeout_seconds: {timeout}
    inbound: {{concurrency: {at_once}}}
    adapters:
      - type: {step}
        isolation: process
        config: {config}
    outbound: {{stage: done}}
error_handling: {{max_attempts: 1}}
"""


def shell(
    folder: Path,
    *names: str,
    step: str = "work",
    config: str = "{}",
    timeout: float = 60,
    at_once: int = 1,
) -> Shell:
    """A folder with an input for each name. `at_once`: of a worker, each in a child of its own."""
    files = {f"in/{name}.txt": name for name in names}
    text = CONFIG.format(step=step, config=config, timeout=timeout, at_once=at_once)
    return Shell(folder, files | {"steps.py": STEPS, "iso.yaml": text})


def dead(ph: Shell) -> dict[str, dict[str, str]]:
    return {one["input_key"].rpartition("/")[2]: one for one in ph.json("dead-letters", "list")["items"]}


def outputs(ph: Shell) -> dict[str, str]:
    """Return the objects of the only run, by name."""
    found = {Path(key): data for key, data in stored(ph.folder / "home/objects").items() if "/done/" in key}
    return {key.stem: data.decode() for key, data in found.items() if key.suffix == ".txt"}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pid_in(file: Path) -> int:
    eventually(lambda: file.exists() and file.read_text(), f"{file.name} to be written")
    return int(file.read_text())


@pytest.fixture
def no_open_files() -> Iterator[None]:
    """This process can open no further file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def until_gone(pid: int) -> None:
    eventually(lambda: not alive(pid), "the child to end")


WRONG = {
    "crash": ("adapter_error", "was ended by SIGSEGV"),
    "fork": ("adapter_error", "was ended by SIGSEGV"),
    "exit": ("adapter_error", "ended with exit code 3"),
    "raise": ("adapter_error", "LookupError: no such thing"),
    "reject": ("rejected", "unreadable"),
    "wrong": ("bad_output", "returned dict"),
    "odd": ("adapter_error", "Odd: (the error's text cannot be read: SystemExit)"),
    "unsendable": ("bad_output", "cannot be sent to its worker"),
    "hang": ("adapter_timeout", "within 3 s"),
    "program": ("adapter_timeout", "within 3 s"),
}


FINE = ("a", "b", "start")
"""`start` starts a program and terminates it."""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A run in which a step went wrong in each way, and succeeded for other inputs."""
    ph = shell(tmp_path_factory.mktemp("failed"), *FINE, *WRONG, timeout=3, at_once=2)
    assert ph("run", "iso.yaml", "in")[0] == 1
    return ph


def test_a_step_that_goes_wrong_harms_only_its_message(failed: Shell):
    letters = {path.removesuffix(".txt"): letter for path, letter in dead(failed).items()}
    assert letters.keys() == WRONG.keys()
    for name, (code, words) in WRONG.items():
        assert (letters[name]["error_code"], words in letters[name]["error"]) == (code, True), letters[name]
    assert failed.json("show", "latest")["counts"]["completed"] == len(FINE)
    trace = failed("dead-letters", "show", letters["raise"]["correlation_id"])[1]
    assert 'steps.py", line' in trace
    assert "isolation.py" not in trace


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", ["hanging", "program"])
def test_the_time_out_ends_a_step_that_never_releases_the_interpreter_and_its_programs(
    failed: Shell, name: str
):
    until_gone(pid_in(failed.folder / name))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_the_child_of_a_killed_worker_ends_although_it_never_returns(tmp_path: Path):
    ph = shell(tmp_path, "hang", timeout=3)
    ph("run", "iso.yaml", "in", "--detach")
    worker = ph.start("worker", stdout=DEVNULL, stderr=DEVNULL)
    child = pid_in(tmp_path / "hanging")
    worker.kill()
    worker.wait()

    until_gone(child)


def test_a_step_does_not_time_out_while_its_processes_are_suspended(tmp_path: Path):
    ph = shell(tmp_path, "sleep", timeout=2)
    ph("run", "iso.yaml", "in", "--detach")
    worker = ph.start("worker", "--until-idle", stdout=DEVNULL, stderr=DEVNULL)
    pids = [worker.pid, pid_in(tmp_path / "sleeping")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)  # twice the time-out
    (tmp_path / "awake").touch()
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    worker.wait(DEADLINE_SECONDS)

    assert not dead(ph)
    assert ph.json("show", "latest")["counts"]["completed"] == 1


def test_a_lack_of_open_files_is_no_fault_of_the_message(no_open_files: None):
    with pytest.raises(Unavailable, match="no process for step 'work'"):
        starter(Settings())(ChildStep("work", {}, "work", 0, ""))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_a_step_forks_may_return_from_the_call_and_changes_no_output(tmp_path: Path):
    names = [f"n{n}" for n in range(9)]
    ph = shell(tmp_path, *names, step="fork")
    assert ph("run", "iso.yaml", "in")[0] == 0

    assert outputs(ph) == {name: name for name in names}
    forked = (tmp_path / "pids").read_text().split()
    assert len(forked) == 9
    for pid in forked:
        until_gone(int(pid))


def test_a_reply_to_another_call_is_not_taken(tmp_path: Path):
    ph = shell(tmp_path, "a", "b", step="forge")
    assert ph("run", "iso.yaml", "in")[0] == 1

    errors = [letter["error"] for letter in dead(ph).values()]
    assert ["replied to another call" in one for one in errors] == [True, True], errors


def test_an_async_class_is_created_once_per_child_and_closed(tmp_path: Path):
    ph = shell(tmp_path, *"abcdef", step="greet", config="{greeting: hi}", at_once=2)
    assert ph("run", "iso.yaml", "in")[0] == 0

    texts = [text.split() for text in outputs(ph).values()]
    assert len(texts) == 6
    pids = {pid for _, pid, _ in texts}
    assert {greeting for greeting, _, _ in texts} == {"hi"}
    assert 1 <= len(pids) <= 2
    assert max(int(count) for _, _, count in texts) >= 3
    assert {file.name for file in tmp_path.glob("closed-*")} == {f"closed-{pid}" for pid in pids}


def test_a_batch_whose_process_ends_is_split(tmp_path: Path):
    ph = shell(tmp_path, "a", "b", "crash", step="many")
    assert ph("run", "iso.yaml", "in")[0] == 1

    assert set(dead(ph)) == {"crash.txt"}
    assert ph.json("show", "latest")["counts"]["completed"] == 2


def test_a_signal_to_the_process_group_does_not_end_running_steps(tmp_path: Path):
    ph = shell(tmp_path, *(f"n{n}" for n in range(20)))
    ph("run", "iso.yaml", "in", "--detach")
    worker = subprocess.Popen(
        [sys.executable, "-m", "playhead", "worker"],
        cwd=ph.folder,
        env=ph.env,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )
    with playhead.connect(ph.env["PLAYHEAD_HOME"]) as client:
        eventually(lambda: client.execution().counts.completed, "a message to be completed")
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait(DEADLINE_SECONDS)
    ph("worker", "--until-idle")

    assert not dead(ph)
    assert ph.json("show", "latest")["counts"]["completed"] == 20


def waits(client: playhead.Client) -> tuple[float, str, str]:
    """Return for how long a route waits, its key and the reason."""
    wait = client.queues()[0].wait
    return (wait.seconds or 0, wait.key, wait.reason) if wait else (0, "", "")


def test_a_step_with_changed_code_waits_for_a_new_worker_and_says_why(tmp_path: Path):
    reason = "adapter 'work' has changed since this worker started: restart the worker"
    ph = shell(tmp_path, *(f"n{n}" for n in range(3)))
    ph("config", "apply", "iso.yaml")
    with (tmp_path / "log").open("w") as log:
        worker = ph.start("worker", stdout=DEVNULL, stderr=log)
    with playhead.connect(ph.env["PLAYHEAD_HOME"]) as client:
        eventually(lambda: client.workers(), "the worker to start")
        (tmp_path / "steps.py").write_text(STEPS + "\n# changed\n")
        ph("run", "iso", "in", "--detach")
        eventually(lambda: waits(client)[0] > 1, "the route to wait")
        # It tries again after two seconds. While it tries, no reason is shown.
        eventually(lambda: waits(client)[0] < 1, "the worker to try again")
        eventually(lambda: waits(client)[0] > 1, "the route to wait again")
        eventually(lambda: reason in waits(client)[2] and waits(client)[1] == "iso/work", "the reason")
    counts = ph.json("show", "latest")["counts"]
    eventually(lambda: "restart the worker" in ph("show", "latest")[1], "a command that shows the reason")
    worker.terminate()
    worker.wait(DEADLINE_SECONDS)
    lines = (tmp_path / "log").read_text().splitlines()
    ph("worker", "--until-idle")

    assert (counts["completed"], counts["failed"]) == (0, 0)
    assert sum("route_waits" in line and "code=code_changed" in line for line in lines) == 1
    assert sum("message_released" in line for line in lines) == 0
    assert ph.json("show", "latest")["counts"]["completed"] == 3


def test_a_run_may_use_several_processes(tmp_path: Path):
    ph = shell(tmp_path, *(f"n{n:02}" for n in range(20)), at_once=2)
    config = tmp_path / "iso.yaml"
    config.write_text(
        config.read_text().replace("isolation: process", "").replace("type: work", "type: meet")
    )
    (tmp_path / "steps.py").write_text(STEPS + MEET)
    code, _, err = ph("run", "iso.yaml", "in", "--processes", "2")
    assert code == 0, err

    assert len({*outputs(ph).values()}) == 2
    assert ph("run", "iso.yaml", "in", "--processes", "2", "--detach")[0] == 2


def exiting(folder: Path) -> Shell:
    """Return a shell in which a step without isolation calls `os._exit(0)` for one of three inputs."""
    ph = shell(folder, "a", "b", "exit")
    config = folder / "iso.yaml"
    config.write_text(config.read_text().replace("isolation: process", ""))
    (folder / "steps.py").write_text(STEPS.replace("os._exit(3)", "os._exit(0)"))
    for name, seconds in (("HEARTBEAT", 1), ("LEASE", 3), ("VISIBILITY", 5)):  # time until the dead are found
        ph.env[f"PLAYHEAD_{name}_SECONDS"] = str(seconds)
    return ph


def test_a_run_whose_step_ends_its_process_fails_and_names_the_step(tmp_path: Path):
    """It exited with code 0 and without a message, although the run was not finished."""
    ph = exiting(tmp_path)

    code, out, err = ph("run", "iso.yaml", "in", "--json")

    assert (code, json.loads(out)["error_code"]) == (1, "step_exited")
    assert "os._exit(0)" in err
    assert f"{tmp_path / 'steps.py'}, line " in err
    assert "`playhead worker --until-idle` continues it" in err
    code, _, err = ph("worker", "--until-idle")
    assert code == 1
    assert "step_exited" in err
    assert "os._exit(0)" in err


def test_a_run_with_several_processes_survives_a_step_that_ends_its_process(tmp_path: Path):
    ph = exiting(tmp_path)

    assert ph("run", "iso.yaml", "in", "--processes", "2")[0] == 1

    assert {path: one["error_code"] for path, one in dead(ph).items()} == {"exit.txt": "worker_lost"}
    shown = ph.json("show", "latest")
    assert (shown["status"], shown["counts"]["completed"]) == ("failed", 2)
