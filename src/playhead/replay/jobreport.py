"""What the process that drives a job logs and counts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from playhead import events
from playhead.counters import Counters
from playhead.errors import Unavailable
from playhead.ports.catalog import Jobs
from playhead.ports.catalog.control import Verdict
from playhead.ports.catalog.jobs import LeasedJob, Listed
from playhead.work import relay


class JobReport:
    """Logs and counts for one job."""

    def __init__(self, catalog: Jobs, counters: Counters, leased: LeasedJob) -> None:
        self._catalog = catalog
        self._counters = counters
        self._headers = leased.headers
        self._job: UUID = leased.job
        self._of_route = counters.of(leased.headers.config, leased.headers.route)

    def count(self, sent: relay.Published) -> None:
        """Count rows that were marked or settled."""
        relay.report_marked(sent, self._counters)
        if self._headers.replay_batch_id:
            self._of_route.replay_published += len(sent.confirmed)
            self._of_route.replay_failed += len(sent.refused)

    def count_invalid(self, invalid: Sequence[Listed]) -> None:
        """Report objects with invalid keys, which were recorded as dead letters.

        Log one line per page, because a folder may contain many such names.
        """
        if not invalid:
            return
        self._counters.count_dead(self._headers.config, self._headers.route, len(invalid))
        if self._headers.replay_batch_id:
            self._of_route.replay_failed += len(invalid)
        events.emit(
            events.KEYS_REFUSED,
            execution_id=str(self._job),
            count=len(invalid),
            first_key=invalid[0].key,
            error=invalid[0].problem,
        )

    def log_verdict(self, verdict: Verdict) -> None:
        """Log how the objects of a canary, or the last objects, ended."""
        events.emit(
            events.CANARY_DECIDED,
            logging.INFO if verdict.passed else logging.WARNING,
            replay_batch_id=str(self._headers.replay_batch_id),
            execution_id=str(self._job),
            **verdict._asdict(),
        )

    async def log_end(self) -> None:
        """Log the end of the job with its numbers."""
        if not events.LOG.isEnabledFor(logging.INFO):
            return  # the line would be dropped, so do not read its numbers
        fields: dict[str, Any] = {
            "execution_id": str(self._job),
            "config": self._headers.config,
            "route": self._headers.route,
        }
        if batch := self._headers.replay_batch_id:
            fields["replay_batch_id"] = str(batch)
            with contextlib.suppress(Unavailable):
                if found := await self._catalog.replay(batch, work=False):
                    fields |= {
                        "status": found.status,
                        "objects_found": found.objects_found,
                        "objects_published": found.objects_published,
                        "objects_failed": found.objects_failed,
                    }
        events.emit(events.JOB_ENDED, **fields)
