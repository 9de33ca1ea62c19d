"""Runs that take over results of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from playhead.keys import INPUT_STAGE, object_key
from playhead.ports.catalog.jobs import Since
from playhead.ports.catalog.prune import check_not_all_pruned
from tests.catalog_memory.rows import JobRow, MessageRow, OutputRow
from tests.catalog_memory.tables import Tables


class TakeOverPart(Tables):
    def _set_since(self, job: JobRow, since: Since) -> None:
        pruned = self._known(since.execution).pruned
        check_not_all_pruned(since.execution, pruned)
        stages = {name: job.execution.ran.config.routes[name].stage for name in since.routes}
        kept = {
            name: codes
            for name, codes in since.routes.items()
            if not any(one.overlaps(stage) for one in pruned if (stage := stages[name]))
        }
        job.since = since._replace(routes=kept)
        job.has_inputs = not any(one.overlaps(INPUT_STAGE) for one in pruned)

    def _same_input(self, job: JobRow, path: str, sha256: bytes) -> OutputRow | None:
        """Return the input of the earlier run with the same path and content."""
        assert job.since is not None, "the run was opened with `since`"
        there = self._outputs.get(object_key(job.since.execution, INPUT_STAGE, path))
        return there if there and there.state == "stored" and there.sha256 == sha256 else None

    def _same_root(self, job: JobRow, row: MessageRow) -> MessageRow | None:
        same = self._same_input(job, row.path, self._outputs[row.object_key].sha256)
        if same is None or job.since is None:
            return None
        rows = self._executions[job.since.execution].messages
        return next((one for one in rows if one.object_key == same.key and not one.parent), None)

    def _take_results(self, since: Since, pairs: Iterable[tuple[MessageRow, MessageRow]]) -> None:
        """Give rows the results of others, and their children theirs, where they are valid."""
        taken = {same: row for row, same in pairs if self._take_result(since, row, same)}
        made = [one for one in self._outputs.values() if one.original and one.message in taken.values()]
        below: list[tuple[MessageRow, MessageRow]] = []
        originals = {row: same for same, row in taken.items()}
        for output in made:
            row = output.message
            assert row is not None, "only outputs of messages are below"
            feeds = [
                (row.execution.ran.config.routes[to], output.key, row.route.stage or "")
                for to in row.route.to
            ]
            for child in self._insert_messages(row.execution, "unpublished", feeds, parent=row):
                old = f"{since.execution}/{child.object_key.partition('/')[2]}"
                for other in originals[row].execution.messages:
                    if (other.parent, other.object_key) == (originals[row], old):
                        below.append((child, other))
        if below:
            self._take_results(since, below)

    def _take_result(self, since: Since, row: MessageRow, same: MessageRow) -> bool:
        """Give a row the result of another one, if it is valid."""
        chains = since.routes.get(row.route.name)
        valid = [None] if chains is None else [self._codes.get(tuple(one), -1) for one in chains]
        if (
            row.route.name not in since.routes
            or same.route.name != row.route.name
            or same.state not in ("completed", "skipped", "taken_over")
            or same.ran not in valid
        ):
            return False
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
