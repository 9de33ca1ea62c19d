"""Bind before write, in PostgreSQL: an output's key is tied to its message before its first byte.

Keys that are new, as nearly all are, are bound in one statement. The others are planned in memory, from one
look at all the rows in question, and written at the end: an attempt is bound as a whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from playhead.backends._postgres import Connection
from playhead.backends._sql_catalog.bindings import (
    KNOWN,
    NEW_OUTPUT,
    Output,
    Plan,
    Todo,
    all_keys,
    wanted_once,
)
from playhead.backends._sql_catalog.rows import RUNNING, SUPERSEDED, WRITING
from playhead.backends.catalog_postgres.rows import Part
from playhead.ports.catalog.work import Binding, Bound, Unbound

_BIND = (
    "INSERT INTO outputs (key, message, attempt, state, size, sha256, fingerprint, content_type, attributes, created_at) "
    f"SELECT b.key, b.message, b.attempt, {WRITING}, b.size, b.sha256, b.fingerprint, b.content_type, b.attributes, "
    "playhead_now() FROM unnest($1::text[], $2::bigint[], $3::int[], $4::bigint[], $5::bytea[], $6::bytea[], "
    f"$7::text[], $8::text[]) AS b ({NEW_OUTPUT}) "
    "ON CONFLICT (key) DO NOTHING RETURNING key"
)


class BindPart(Part):
    async def bind(self, bindings: Sequence[Binding]) -> list[list[Bound] | Unbound | None]:
        # In ASCII: what an adapter says may have half characters in it, which PostgreSQL would not take.
        encoded = [[json.dumps(o.attributes) for o in b.outputs] for b in bindings]

        async def job(con: Connection) -> list[list[Bound] | Unbound | None]:
            # The rows are locked, so that the token holds until the commit: else a zombie that was slow here
            # could burn what the next attempt has stored.
            rows = await con.fetch(
                "SELECT m.id, m.attempt, m.state, m.n, m.lane, e.id, playhead_now() FROM messages m "
                "JOIN executions e ON e.n = m.execution WHERE m.id = ANY($1::uuid[]) ORDER BY m.n "
                "FOR NO KEY UPDATE OF m",
                [b.correlation_id for b in bindings],
            )
            now = rows[0][6] if rows else 0.0
            held = {(row[0], row[1]): row[3:6] for row in rows if row[2] == RUNNING}
            todo: list[Todo | None] = []
            for binding, attributes in zip(bindings, encoded, strict=True):
                row = held.get((binding.correlation_id, binding.attempt))
                if row is None:
                    todo.append(None)
                    continue
                n, lane_id, execution = row
                stage = (await self._lane(con, lane_id)).stage
                assert stage is not None, "only a route with an outbound stage binds outputs"
                todo.append(Todo(binding, attributes, n, f"{execution}/{stage}/"))
            wanted = [one for one in todo if one]
            new = await self._bind_new(con, wanted)
            again = await self._bind_again(con, [one for one in wanted if id(one) not in new], now)
            answers: list[list[Bound] | Unbound | None] = []
            for one in todo:
                if one is None:
                    answers.append(None)
                elif id(one) in new:
                    attempt = one.binding.attempt
                    answers.append(
                        [Bound(one.prefix + o.path, o.path, attempt, now) for o in one.binding.outputs]
                    )
                else:
                    answers.append(again[id(one)])
            return answers

        return await self._write(job)

    async def _insert_outputs(self, con: Connection, rows: Sequence[tuple[Any, ...]]) -> set[str]:
        """Bind keys that are free; returns those that were."""
        if not rows:
            return set()
        return {key for (key,) in await con.fetch(_BIND, *map(list, zip(*rows, strict=True)))}

    async def _bind_new(self, con: Connection, todo: Sequence[Todo]) -> set[int]:
        """Bind those whose every key is new, in one statement; returns which those are.

        Nearly all are. Nothing is left of the others, which want to be looked at one by one.
        """
        alone = wanted_once(todo)
        bound = await self._insert_outputs(
            con,
            [
                one.row(key, output, attributes)
                for one in alone
                for key, output, attributes in zip(one.keys, one.binding.outputs, one.attributes, strict=True)
            ],
        )
        new = {id(one) for one in alone if bound.issuperset(one.keys)}
        part = [key for one in alone if id(one) not in new for key in one.keys if key in bound]
        if part:
            await con.execute("DELETE FROM outputs WHERE key = ANY($1)", part)
        return new

    async def _bind_again(
        self, con: Connection, todo: Sequence[Todo], now: float
    ) -> dict[int, list[Bound] | Unbound]:
        """Bind outputs of which some have a key that is bound already: to this message, or to another."""
        keys = all_keys(todo)
        while todo:
            rows = await con.fetch(f"{KNOWN} WHERE key = ANY($1)", keys)
            plan = Plan({key: Output(*row) for key, *row in rows}, now)
            answers = {id(one): plan.bind(one) for one in todo}
            # Another message may have bound one of these keys since the look: then nothing is kept, and the
            # next look sees it. Each turn sees at least one key more, so this ends.
            await con.execute("SAVEPOINT binding")
            if len(await self._insert_outputs(con, list(plan.inserts.values()))) == len(plan.inserts):
                for state in (WRITING, SUPERSEDED):
                    changed = [key for key, new in plan.states.items() if new == state]
                    if changed:
                        await con.execute("UPDATE outputs SET state = $2 WHERE key = ANY($1)", changed, state)
                return answers
            await con.execute("ROLLBACK TO SAVEPOINT binding")
        return {}
