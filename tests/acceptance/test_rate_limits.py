"""Rate limits over real worker processes: calls that a service rejects harm no message."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell
from tests.limited_api import LimitedApi
from tests.program import Program
from tests.waiting import eventually

STEPS = """
import os, urllib.error, urllib.request
from playhead import Item, RateLimited, Retry, adapter

@adapter("call", produces="text/plain")
def call(item: Item) -> str:
    try:
        with urllib.request.urlopen(os.environ["API"], data=item.data, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as exc:
        raise RateLimited("429 from the API", after=float(exc.headers["Retry-After"])) from None

@adapter("impatient")
def impatient(item: Item) -> str:
    raise Retry("429 from the API", after=0)
"""

CONFIG = """
version: "1.0"
name: api
entry: call
routes:
  call:
    {route}
    inbound: {{concurrency: 16, {inbound}}}
    adapters:
      - type: call
        {step}
    outbound: {{stage: answers}}
error_handling: {{max_attempts: 1, retry_delay_seconds: 0}}
"""
LIMIT = "rate_limit: {calls: 20, seconds: 1, key: account}"


class Site:
    """A folder with a config, and processes that work on it."""

    def __init__(self, folder: Path, api: LimitedApi, *, inputs: int, **config: str) -> None:
        texts = {"route": "", "step": "", "inbound": ""} | config
        files = {f"in/{n:04}.txt": f"text {n}" for n in range(inputs)}
        self.shell = Shell(folder, files | {"steps.py": STEPS, "api.yaml": CONFIG.format(**texts)})
        found_soon = {"PLAYHEAD_HEARTBEAT_SECONDS": "0.5", "PLAYHEAD_VISIBILITY_SECONDS": "2"}
        self.shell.env |= {"API": api.url, **found_soon}
        self.inputs = inputs
        self.shell("run", "api.yaml", "in", "--detach")

    @contextmanager
    def workers(self, count: int, *arguments: str) -> Iterator[list[Program]]:
        processes = [
            self.shell.start("worker", *arguments, stdout=DEVNULL, stderr=DEVNULL) for _ in range(count)
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(DEADLINE_SECONDS)

    def work(self) -> None:
        """Let two workers process everything."""
        with self.workers(2, "--until-idle") as processes:
            for process in processes:
                process.wait(2 * DEADLINE_SECONDS)

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.shell.json("show", "latest")["counts"]
        return counts


@pytest.fixture
def api() -> Iterator[LimitedApi]:
    with LimitedApi(20, 1, latency=0.05).running() as running:
        yield running


def fewest_rejected(measure: Callable[[int], int]) -> int:
    """Measure again while calls were rejected: if the machine stalls, calls arrive together."""
    found = [measure(0)]
    while min(found) > 3 and len(found) < 5:
        found.append(measure(len(found)))
    return min(found)


@pytest.mark.parametrize("where", ["route", "step"])
def test_two_workers_together_keep_a_rate_limit(tmp_path: Path, where: str):
    def measure(n: int) -> int:
        with LimitedApi(20, 1, latency=0.05).running() as api:
            site = Site(tmp_path / str(n), api, inputs=60, **{where: LIMIT})
            site.work()
        assert site.counts["completed"] == site.inputs
        return api.rejected

    assert fewest_rejected(measure) <= 3


def test_rejected_calls_use_up_no_attempt(tmp_path: Path, api: LimitedApi):
    site = Site(tmp_path, api, inputs=60)
    site.work()

    assert site.counts["completed"] == site.inputs
    assert api.rejected > 0


def test_killed_workers_start_no_call_twice_as_fast(tmp_path: Path):
    def measure(n: int) -> int:
        with LimitedApi(10, 1, latency=0.05).running() as api:
            site = Site(tmp_path / str(n), api, inputs=40, route="rate_limit: {calls: 10, seconds: 1}")
            for _ in range(3):
                with site.workers(2) as processes:
                    served = len(api.served)
                    eventually(lambda served=served: len(api.served) > served + 2, "some calls")  # type: ignore[misc]
                    for process in processes:
                        process.kill()
            site.work()
        assert site.counts["pending"] == 0
        return api.rejected

    assert fewest_rejected(measure) <= 3


def test_all_workers_together_run_as_many_messages_as_allowed(tmp_path: Path):
    with LimitedApi(1000, 1, latency=0.3).running() as api:
        site = Site(tmp_path, api, inputs=24, inbound="concurrency_total: 3")
        site.work()

    assert site.counts["completed"] == site.inputs
    assert api.most_at_once == 3


def test_a_cooldown_stops_all_workers_and_is_shown(tmp_path: Path, api: LimitedApi):
    api.retry_after = 30
    site = Site(tmp_path, api, inputs=200)
    with site.workers(2):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (waits := [one["wait"] for one in site.shell.json("queues")["items"] if one["wait"]]):
            assert time.monotonic() < deadline

        def is_quiet() -> bool:
            calls = len(api.served) + api.rejected
            time.sleep(2)
            return len(api.served) + api.rejected == calls

        eventually(is_quiet, "the calls in progress to end")
        assert len(api.served) == 20
        # Of each worker, those that ran, and those that were claimed at this moment.
        assert 0 < api.rejected <= 2 * 2 * 16
        _, out, _ = site.shell("queues")
        _, shown, _ = site.shell("show", "latest")

    assert waits[0]["reason"] == "429 from the API"
    assert 0 < waits[0]["seconds"] <= 30
    assert " waits for another " in out
    assert "429 from the API" in shown
    assert site.counts["failed"] == 0


def test_exhausted_retries_have_their_own_code_and_can_be_sent_again_alone(tmp_path: Path, api: LimitedApi):
    site = Site(tmp_path, api, inputs=2)
    config = tmp_path / "api.yaml"
    config.write_text(config.read_text().replace("type: call", "type: impatient"))
    code, _, _ = site.shell("run", "api.yaml", "in")
    dead = site.shell.json("dead-letters", "list", "--code", "retries_exhausted")["items"]
    none = site.shell.json("dead-letters", "list", "--code", "adapter_error")["items"]
    sent = site.shell.json("dead-letters", "resend", "--code", "retries_exhausted")

    assert code == 1
    assert ([one["error_code"] for one in dead], none) == (["retries_exhausted"] * 2, [])
    assert sent["resent"] == 2
