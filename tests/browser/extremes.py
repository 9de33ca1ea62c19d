"""Demo data at the limits: names of 63 characters, hostile paths, many routes, and many failures alike."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from playhead.ids import uuid7
from tests.browser.demo_inputs import CAUSES

if TYPE_CHECKING:
    from tests.browser.demo import Demo

LONGEST: Final = 63
"""Characters of the longest name of a config, a route or a dataset."""
LETTERS: Final = 5_000
"""Dead letters of the largest group."""


def long(name: str) -> str:
    """Return a name of 63 characters."""
    return f"{name}_{'of_the_customer_in_the_currency_of_the_order_and_of_the_account_of_the_day'}"[:LONGEST]


LEDGER: Final = long("ledger")
DESK, SORT = long("desk"), long("sort")
DATASET: Final = long("balances")
CHAIN: Final = tuple(long(f"step_{n:02}") for n in range(12))
"""Routes that follow each other."""
POSTING: Final = tuple(long(f"post_{n:02}") for n in range(20))
"""Routes that fail, each for one of three causes."""
LEDGER_ROUTES: Final = 2 + len(CHAIN) + len(POSTING)
READ, CHECK = long("read"), long("check")
REASON: Final = f"{'postings' * 12} <script>alert(1)</script> \u202egnihton\u202c {'of the order ' * 30}"
INPUTS: Final[Mapping[str, bytes]] = {
    "orders/" + "x" * 190 + ".json": b'{"currency": "DKK"}',
    "orders/<img src=x onerror=alert(1)> \u202egnp.exe\u202c \U0001f4a5 q\u0301\u0302.json": (
        b'{"currency": "<script>alert(1)</script>"}'
    ),
}
"""Two, so that each group but the largest is smaller than those of the handbook, also after a replay."""
DESK_INPUTS: Final[Mapping[str, bytes]] = {
    **INPUTS,
    **{f"orders/{name}.json": b'{"currency": "EUR"}' for name in "ab"},
}
"""In the order of the keys, one of the first two fails."""


def desk() -> str:
    """Return a config with one route, which fails for some inputs."""
    return (
        f'version: "1.0"\nname: {DESK}\nentry: {SORT}\nerror_handling: {{max_attempts: 1}}\nroutes:\n'
        f"  {SORT}:\n    adapters: [{{type: post, config: {{cause: currency}}}}]\n"
        f"    outbound: {{stage: {SORT}_}}\n"
    )


def ledger() -> str:
    """Return a config of 34 routes: two follow the first stage, then a chain, and routes that fail."""

    def route(name: str, to: str, step: str = "type: passthrough") -> str:
        return f"  {name}:\n    adapters: [{{{step}}}]\n    outbound: {{stage: {name}_, to: [{to}]}}"

    lines = [
        f'version: "1.0"\nname: {LEDGER}\nentry: {READ}\nerror_handling: {{max_attempts: 1}}',
        f"datasets: {{{DATASET}: {{routes: [{', '.join(CHAIN)}]}}}}\nroutes:",
        # The chain is declared from its end, so the order of the config is not that of the pipeline.
        *(route(name, after) for name, after in reversed([*zip(CHAIN, [*CHAIN[1:], ""], strict=True)])),
        *(
            route(name, "", f"type: post, config: {{cause: {CAUSES[n % len(CAUSES)]}}}")
            for n, name in enumerate(POSTING)
        ),
        route(READ, f"{CHECK}, {CHAIN[0]}"),
        route(CHECK, ", ".join(POSTING)),
    ]
    return "\n".join(lines) + "\n"


def add(demo: Demo) -> None:
    """Add the data to a deployment. Its worker processes them meanwhile."""
    deployment = demo.deployment
    deployment.apply(ledger())
    demo.run("ledger", LEDGER, dict(INPUTS), "x" * 60 + "<b>")
    deployment.apply(desk())
    demo.run("desk", DESK, dict(DESK_INPUTS))
    largest = next(deployment.items("/dead-letters", execution_id=demo.ids["ledger"], route=POSTING[0]))
    _repeat(demo, largest["correlation_id"])
    demo.ids |= {"ledger_dead": largest["correlation_id"], "ledger_group": largest["group"]}
    demo.ids["ledger_cause"] = next(deployment.items("/causes", route=POSTING[0]))["id"]
    demo.ids |= {"ledger_config": LEDGER, "ledger_input": next(iter(INPUTS)), "ledger_chain": CHAIN[4]}


def add_replay(demo: Demo, slow: Mapping[str, Any]) -> None:
    """Add a replay that goes on while the tests run, two that are paused by a check, and publications."""
    demo.replay("ledger_replay", "ledger", "input", READ, reason=REASON, **slow)
    demo.checked("desk_canary", "desk", "input", SORT, reason=REASON, canary={"objects": 3})
    guard = {"failed": 0, "of_last": 2}
    demo.checked("desk_guard", "desk", "input", SORT, reason=REASON, pause_if=guard)
    for reason in (REASON, "again"):
        demo.publish(DATASET, "ledger", reason=reason)


def _repeat(demo: Demo, letter: str) -> None:
    """Add rows like that of a dead letter: to process their messages would take seconds."""
    with closing(sqlite3.connect(demo.deployment.home / "playhead.db", timeout=60)) as con, con:
        con.row_factory = sqlite3.Row
        [row] = con.execute("SELECT * FROM messages WHERE id = ?", (bytes.fromhex(letter.replace("-", "")),))
        [[counts]] = con.execute("SELECT counts FROM executions WHERE n = ?", (row["execution"],))
        names = [name for name in row.keys() if name != "n"]  # noqa: SIM118
        added = _copies({name: row[name] for name in names}, LETTERS - len(INPUTS))
        marks = ", ".join("?" * len(names))
        con.executemany(f"INSERT INTO messages ({', '.join(names)}) VALUES ({marks})", added)
        found = [
            [lane, state, count + (LETTERS - len(INPUTS)) * ((lane, state) == (row["lane"], row["state"]))]
            for lane, state, count in json.loads(counts)
        ]
        con.execute("UPDATE executions SET counts = ? WHERE n = ?", (json.dumps(found), row["execution"]))
        [newest] = con.execute("SELECT max(n) FROM messages").fetchone()
        con.execute(
            "UPDATE failing SET letters = letters + ?, message = ? WHERE message = ?",
            (LETTERS - len(INPUTS), newest, row["n"]),
        )


def _copies(row: dict[str, Any], count: int) -> Iterator[tuple[Any, ...]]:
    for n in range(count):
        copy = {"id": uuid7().bytes, "error": f"KeyError: 'C{n:04}'", "ended_at": row["ended_at"] - n / 1000}
        yield tuple((row | copy).values())
