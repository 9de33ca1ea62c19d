"""Runs that take over results of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from playhead.keys import INPUT_STAGE, object_key
from playhead.ports.catalog.jobs import ReusableRoutes, Since
from playhead.ports.catalog.prune import check_not_all_pruned
from tests.catalog_memory.rows import JobRow, MessageRow, OutputRow
from tests.catalog_memory.tables import Tables


class TakeOverPart(Tables):
    def _set_since(self, job: JobRow, since: Since) -> None:
        pruned = self._known(since.execution).pruned
        check_not_all_pruned(since.execution, pruned)

        def kept(identity: UUID, routes: ReusableRoutes) -> ReusableRoutes:
            gone = self._known(identity).pruned
            stages = {name: job.execution.ran.config.routes[name].stage for name in routes}
            return {
                name: codes
                for name, codes in routes.items()
                if not any(one.overlaps(stage) for one in gone if (stage := stages[name]))
            }

        replays = {identity: kept(identity, routes) for identity, routes in since.replays.items()}
        job.since = since._replace(routes=kept(since.execution, since.routes), replays=replays)
        job.has_inputs = not any(one.overlaps(INPUT_STAGE) for one in pruned)

    def _same_input(self, job: JobRow, path: str, sha256: bytes) -> OutputRow | None:
        """Return the input of the earlier run with the same path and content."""
        assert job.since is not None, "the run was opened with `since`"
        there = self._outputs.get(object_key(job.since.execution, INPUT_STAGE, path))
        return there if there and there.state == "stored" and there.sha256 == sha256 else None

    def _same_roots(self, job: JobRow, row: MessageRow) -> list[MessageRow]:
        same = self._same_input(job, row.path, self._outputs[row.object_key].sha256)
        if same is None or job.since is None:
            return []
        rows = self._executions[job.since.execution].messages
        own = [one for one in rows if one.object_key == same.key and not one.parent]
        return own + self._replayed(job.since, row)

    def _replayed(self, since: Since, row: MessageRow) -> list[MessageRow]:
        """Return the roots of replays, newest first, that received the same object of the earlier run."""
        key = f"{since.execution}/{row.object_key.partition('/')[2]}"
        rows = [one for identity in since.replays for one in self._executions[identity].messages]
        roots = [one for one in rows if one.object_key == key and not one.parent]
        return sorted(roots, key=lambda one: one.execution.n, reverse=True)

    def _take_results(self, since: Since, pairs: Iterable[tuple[MessageRow, list[MessageRow]]]) -> None:
        """Give each row the first valid result, and do the same for its children."""
        taken: dict[MessageRow, MessageRow] = {}
        for new, candidates in pairs:
            same = next((one for one in candidates if self._is_valid(since, new, one)), None)
            if same and self._take_result(new, same):
                taken[same] = new
        made = [one for one in self._outputs.values() if one.original and one.message in taken.values()]
        below: list[tuple[MessageRow, list[MessageRow]]] = []
        originals = {row: same for same, row in taken.items()}
        for output in made:
            row = output.message
            assert row is not None, "only outputs of messages are below"
            feeds = [
                (row.execution.ran.config.routes[to], output.key, row.route.stage or "")
                for to in row.route.to
            ]
            for child in self._insert_messages(row.execution, "unpublished", feeds, parent=row):
                source = originals[row].execution
                old = f"{source.id}/{child.object_key.partition('/')[2]}"
                own = [
                    other
                    for other in source.messages
                    if (other.parent, other.object_key) == (originals[row], old)
                ]
                below.append((child, own + self._replayed(since, child) * (source.id == since.execution)))
        if below:
            self._take_results(since, below)

    def _is_valid(self, since: Since, row: MessageRow, same: MessageRow) -> bool:
        routes = {since.execution: since.routes, **since.replays}[same.execution.id]
        chains = routes.get(row.route.name)
        valid = [None] if chains is None else [self._codes.get(tuple(one), -1) for one in chains]
        return (
            row.route.name in routes
            and same.route.name == row.route.name
            and same.state in ("completed", "skipped", "taken_over")
            and same.ran in valid
        )

    def _take_result(self, row: MessageRow, same: MessageRow) -> bool:
        """Give a row the result of another one."""
        moved = {
            f"{row.execution.id}/{output.key.partition('/')[2]}": output
            for output in self._outputs_of(same)
            if output.state == "stored"
        }
        if moved.keys() & self._outputs.keys():
            return False  # another message has bound a key: the attempt reports the conflict
        for key, output in moved.items():
            self._outputs[key] = replace(output, key=key, message=row, original=output.place)
        row.close("taken_over", self._clock())
        row.dispatch_state = "published"
        row.confirmed = True
        row.skip_reason, row.ran, row.original = same.skip_reason, same.ran, same.original or same
        return True
