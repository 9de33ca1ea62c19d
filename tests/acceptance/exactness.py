"""Shared by the tests of exactness and of signals: pipelines, external objects, ways to stop a process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from playhead.ids import uuid7
from tests.acceptance.ledger import Findings, Ledger
from tests.acceptance.processes import STEPS, Deployment, Process, open_deployment

_STEPS: Final = f"{STEPS},{Path(__file__).with_name('exactness_steps.py')}"

PATIENT: Final[Mapping[str, str]] = {
    "HEARTBEAT_SECONDS": "60",
    "LEASE_SECONDS": "300",
    "VISIBILITY_SECONDS": "300",
    "SETTLE_SECONDS": "300",
}
"""Intervals so long that a test that waits for one of them misses its deadline."""


def exact_deployment(**settings: Any) -> AbstractContextManager[Deployment]:
    """A deployment with the steps of these tests; `settings` as for `open_deployment`."""
    return open_deployment(ADAPTERS=_STEPS, **settings)


def pipeline(
    name: str,
    step: str,
    config: str = "",
    *,
    inbound: str = "concurrency: 2, prefetch: 4",
    attempts: int = 50,
) -> str:
    """A config with one step to try, and a route for each of its outputs that others consume."""
    return f"""
version: "1.0"
name: {name}
entry: work
error_handling: {{max_attempts: {attempts}, retry_delay_seconds: 0, max_delay_seconds: 0}}
routes:
  work:
    inbound: {{{inbound}}}
    adapters: [{{type: {step}, config: {{{config}}}}}]
    outbound: {{stage: done, to: [shout, hand_over]}}
  shout:
    inbound: {{concurrency: 2, prefetch: 16}}
    adapters: [{{type: shout}}]
    outbound: {{stage: loud}}
  hand_over:
    external: true
"""


def inputs(count: int, *special: str) -> dict[str, bytes]:
    """Return the inputs of a run by path; the `special` names are in the middle."""
    names = [f"page{n:04d}" for n in range(count)]
    names[count // 2 : count // 2] = special
    return {f"{name}.txt": f"the text of {name}".encode() for name in names}


def lay_out(deployment: Deployment, files: Mapping[str, bytes]) -> None:
    """Write files into the folder `pages`, next to the home."""
    (deployment.folder / "pages").mkdir()
    for path, data in files.items():
        (deployment.folder / "pages" / path).write_bytes(data)


def strangers(deployment: Deployment, paths: Iterable[str]) -> str:
    """Lay objects out as another program would, in stage `found` of a new execution; returns its id."""
    execution = str(uuid7())
    for path in paths:
        put(deployment, f"{execution}/found/{path}")
    return execution


def put(deployment: Deployment, key: str) -> None:
    file = deployment.objects / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")


def roots(deployment: Deployment, execution: str) -> list[str]:
    """The objects that a job recorded, in its order, from rows."""
    found = deployment.rows(
        "SELECT object_key FROM messages m JOIN executions e ON e.n = m.execution "
        "WHERE e.id = ? AND ordinal IS NOT NULL ORDER BY ordinal",
        UUID(execution),
    )
    return [row["object_key"] for row in found]


def audited(deployment: Deployment, execution: str, *, source: str | None = None) -> Findings:
    """What a ledger finds in an execution of `pipeline` that has ended; raises when it is not exact."""
    found = Ledger(deployment, execution, source=source).audit(route="work")
    if not found.exact:
        raise deployment.failed(f"execution {execution} is not exact:\n{found}")
    return found


@contextmanager
def by_hand(deployment: Deployment, *, when: str = "SELECT 1") -> Iterator[sqlite3.Connection]:
    """The database, opened as an operator would to break something; in a write transaction until left.

    Args:
        when: enter at a moment at which this query finds a row. No other process can write from then on.
    """
    with closing(sqlite3.connect(deployment.home / "playhead.db", timeout=0, isolation_level=None)) as con:
        con.execute("PRAGMA wal_autocheckpoint=0")

        def is_the_moment() -> bool:
            """Look without the lock, and try for it in steps as short as the product's own: it is brief."""
            for _ in range(200):
                if con.execute(when).fetchone() and _begin(con):
                    if con.execute(when).fetchone():
                        return True
                    con.execute("ROLLBACK")
                time.sleep(0.0005)
            return False

        deployment.until(is_the_moment, f"a row of {when!r}")
        yield con
        con.execute("COMMIT")


def _begin(con: sqlite3.Connection) -> bool:
    try:
        con.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:  # another has the lock
        return False
    return True


def stop_outside_a_transaction(deployment: Deployment, process: Process) -> None:
    """SIGSTOP a process at a moment when it holds no lock, as one that does blocks everybody's writes."""

    def stopped() -> bool:
        process.pause()
        if is_writable(deployment):
            return True
        process.resume()
        time.sleep(0.01)
        return False

    deployment.until(stopped, f"{process.name} to be outside a transaction", alive=[process])


def is_writable(deployment: Deployment) -> bool:
    """Return whether the write lock of the database is free, or released soon."""
    with closing(sqlite3.connect(deployment.home / "playhead.db", timeout=0.2, isolation_level=None)) as con:
        try:
            con.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        con.execute("ROLLBACK")
        return True
