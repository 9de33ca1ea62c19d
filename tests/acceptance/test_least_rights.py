"""Servers and workers with the rights of `playhead migrate --grants` do all that they do with all rights.

`test_postgres_grants.py` checks each statement alone. This test sends them from processes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
import pytest

from playhead.ports.diagnosis import ProcessRole
from tests.acceptance.brokers import query
from tests.acceptance.processes import (
    SETTINGS,
    STEADY,
    Deployment,
    Process,
    deployment_folder,
    outside,
    variables,
)
from tests.servers import Server, need_fresh
from tests.servers.roles import as_role, process_roles

pytestmark = pytest.mark.slow

STEPS: Final = Path(__file__).with_name("gated_steps.py")
DOCS: Final = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    inbound: {concurrency_total: 8}
    rate_limit: {calls: 1000, seconds: 1}
    adapters: [{type: gated}]
    outbound: {stage: loud, to: [index, hand_over]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
  hand_over:
    external: true
datasets: {docs: {publish: automatic, keep: 2}}
"""
SHORT: Final = """
version: "1.0"
name: short
entry: copy
retention: {keep_days: 1, records: 2 days}
routes:
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copies}
"""
PAGES: Final = {"a.md": b"broken text", "b.md": b"second text", "c.md": b"third text"}
MANY: Final = {f"{n:03}.md": f"text {n}".encode() for n in range(200)}
_WEBHOOK: Final = "http://127.0.0.1:9/playhead"
"""No program listens there: the delivery fails and is repeated."""


@dataclass
class Separated(Deployment):
    """A deployment on PostgreSQL in which workers have another role than all other processes."""

    roles: Mapping[ProcessRole, str] = field(kw_only=True)
    owner: str = field(kw_only=True)

    def own(self, process: str) -> Mapping[str, str]:
        url = as_role(self.owner, self.roles["worker" if process.endswith("-worker") else "server"])
        return {"CATALOG": url, "BROKER": url}

    def rows(self, sql: str, *values: object) -> list[Any]:
        return query(self.owner, sql, *values)

    def settled(self, execution: str) -> Any:
        """Wait until all messages of an execution have ended; return the row of the execution."""
        asked = "SELECT n, status FROM executions WHERE id = $1 AND settled"
        (row,) = self.until(lambda: self.rows(asked, execution), f"execution {execution} to settle")
        return row

    def shown(self) -> int:
        """Return the number of the newest switch of the dataset."""
        return int(self.rows("SELECT coalesce(max(seq), 0) AS seq FROM switches")[0]["seq"])

    def publishes(self, before: int) -> None:
        """Wait until a later publication is decided, and the index shows it."""
        newest = "SELECT 1 FROM sinks WHERE shown_seq > $1 AND shown_seq = (SELECT max(seq) FROM switches)"
        self.until(lambda: self.rows(newest, before), "a publication")

    def let_age(self, days: int) -> None:
        """Let all executions be some days older."""
        aged = "created_at = created_at - $1::float8 * 86400, ended_at = ended_at - $1::float8 * 86400"
        self.rows(f"UPDATE executions SET {aged}", days)

    def indexes(self, path: str) -> None:
        """Wait until Find has a path. It does not wait for transactions that may still be open."""

        def look() -> Any:
            self.rows("UPDATE search_index SET noted_at = noted_at - 60")
            return self.rows("SELECT 1 FROM terms WHERE text LIKE $1", f"%{path}")

        self.until(look, "the index of Find")

    def gate(self, closed: bool) -> None:
        """Let the step fail for broken texts, or not."""
        gate = self.data / "open"
        gate.unlink(missing_ok=True) if closed else gate.touch()


@pytest.fixture
def server() -> Iterator[Server]:
    with need_fresh("postgres") as own:
        yield own


@pytest.fixture
async def at(server: Server) -> AsyncIterator[Separated]:
    con = await asyncpg.connect(server.url)
    await con.execute("CREATE SCHEMA separated")
    await con.close()
    url = f"{server.url}?search_path=separated"
    settings = {
        "ADAPTERS": str(STEPS),
        "WEBHOOK_SECRET": "whsec_" + "A" * 32,
        "WEBHOOK_HOSTS": "127.0.0.1:9",
        "WEBHOOK_PRIVATE_HOSTS": "127.0.0.1:9",
    }
    async with process_roles(url) as roles:
        with deployment_folder() as folder:
            given = {**SETTINGS, **STEADY, **settings, "HOME": str(folder / "home")}
            made = Separated(folder, outside() | variables(given), roles=roles, owner=url)
            yield made
            made.close()


def test_no_right_is_missing_in_work_replays_publications_prunes_and_a_takeover(
    at: Separated, server: Server
):
    serving = at.serve()
    at.worker()
    first = _run_and_repair(at)
    _control_replays(at, first)
    _publish_and_go_back(at, first)
    _explain_and_delete(at, first)
    _go_on_without(serving, at)
    _examine(at)
    said = [line for process in at.processes for line in process.said.splitlines()]
    assert [line for line in said if "lacks a right" in line] == []
    log = server.said(1_000_000).splitlines()
    assert [log[n : n + 3] for n, line in enumerate(log) if "permission denied" in line] == []


def _run_and_repair(at: Separated) -> str:
    at.gate(closed=True)
    at.apply(DOCS)
    at.apply(SHORT)
    first = at.run("docs", PAGES, tag="first")
    assert at.settled(first)["status"] == "failed"
    (cause,) = at.get("/causes")["items"]
    at.post(f"/causes/{cause['id']}/acknowledge", json={"reason": "known"})
    at.gate(closed=False)
    before = at.shown()
    at.post("/dead-letters/resend", json={"execution_id": first})
    assert at.settled(first)["status"] == "completed"
    at.publishes(before)
    return first


def _control_replays(at: Separated, first: str) -> None:
    at.gate(closed=True)
    held = at.replay(first, "input", "shout", canary={"objects": 1}, reason="try", webhook=_WEBHOOK)
    batch = held["replay_batch_id"]
    assert at.get(f"/replays/{batch}")["state"] == "paused"
    at.gate(closed=False)
    at.post(f"/replays/{batch}/resume")
    at.settled(held["execution_id"])
    at.until(lambda: at.rows("SELECT 1 FROM reports WHERE state = 'stored'"), "a report")
    at.until(lambda: at.rows("SELECT 1 FROM deliveries WHERE attempts > 0"), "an attempt to deliver")

    slow = at.cli("replay", first, "input", "shout", "--rate", "0.01", "--detach")["replay_batch_id"]
    at.post(f"/replays/{slow}/pause")
    at.post(f"/replays/{slow}/resume")
    at.cli("replays", "pace", slow, "--queue-depth", "1")
    at.post(f"/replays/{slow}/cancel")

    plan = at.cli("plan", first, "input", "shout")["plan_id"]
    planned = at.cli("replay", "--plan", plan, "--wait")
    at.settled(planned["execution_id"])


def _publish_and_go_back(at: Separated, first: str) -> None:
    before = at.shown()
    repeated = at.replay(first, "input", "shout")["execution_id"]
    at.settled(repeated)
    at.cli("publish", "docs", repeated)
    at.publishes(before)
    before = at.shown()
    at.post("/datasets/docs/rollback", json={"reason": "look again"})
    at.publishes(before)
    at.post("/datasets/docs/release")


def _explain_and_delete(at: Separated, first: str) -> None:
    folder = at.folder / "pages"
    folder.mkdir()
    for name, text in (PAGES | {"c.md": b"changed text"}).items():
        (folder / name).write_bytes(text)
    before = at.shown()
    changed = at.cli("run", "docs", "pages", "--changed-since", first)
    at.settled(changed["execution_id"])
    at.publishes(before)

    with closing(sqlite3.connect(at.data / "search.db", timeout=60)) as index, index:
        index.execute("DELETE FROM entry_text WHERE rowid IN (SELECT written FROM entry WHERE path = 'b.md')")
        index.execute("DELETE FROM entry WHERE path = 'b.md'")
    at.post("/datasets/docs/index/check", json={"repair": True})
    at.until(
        lambda: at.rows("SELECT 1 FROM sinks WHERE repair IS NOT NULL AND NOT is_repairing"), "the repair"
    )

    at.post("/routes/docs/shout/pause", json={"reason": "no quota"})
    at.post("/routes/docs/shout/resume")
    at.indexes("c.md")
    at.cli("reindex")

    pruned = at.run("short", PAGES)
    at.settled(pruned)
    at.post(f"/executions/{pruned}/pin")
    at.post(f"/executions/{pruned}/unpin")
    at.cli("prune", pruned, "--yes")


def _go_on_without(server: Process, at: Separated) -> None:
    large = at.run("short", MANY)
    server.kill()
    assert at.settled(large)["status"] == "completed"
    at.indexes("199.md")

    before = at.shown()
    at.settled(at.cli("run", "docs", "pages", "--detach")["execution_id"])
    at.publishes(before)

    at.let_age(10)
    deleted = "SELECT 1 FROM executions WHERE id = $1 AND records_deleted_at IS NOT NULL AND NOT records_open"
    at.until(lambda: at.rows(deleted, large), "the retention")
    holder = "SELECT p.by_role FROM leases l JOIN processes p ON p.id = l.owner WHERE l.name = 'reconciler'"
    assert at.rows(holder)[0]["by_role"] == at.roles["worker"]


def _examine(at: Separated) -> None:
    at.serve()
    assert _rights(at.post("/system/doctor")) == ["ok"]
    assert _rights(at.cli("doctor", "--for", "server")) == ["ok"]
    command = at.start("doctor", "--for", "worker", settings=at.own("1-worker"))
    assert command.popen.wait(120) == 0


def _rights(examined: Any) -> Sequence[str]:
    return [
        one["status"] for part in examined["parts"] for one in part["findings"] if one["what"] == "rights"
    ]
