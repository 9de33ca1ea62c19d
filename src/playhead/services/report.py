"""The completion report of a replay: one line of JSON for each of its objects.

The order of steps, and why each is right if the process is killed (`kill -9`) after any of them:

1. *Claim*: the lease expires, and another process claims the report under the next epoch. Names of parts
   contain the epoch, so it writes other objects.
2. *Bind* a part, then *write* it: a bound part is shown in no list before it is stored.
3. Repeat until no row is left. *Store* all parts in one transaction.

The execution cannot change between the first row and the last one: if it is resumed, the last step stores
nothing, and its next end has its own report.

Memory holds one part and one page of rows, and 8 bytes for each object if anything below an object failed or
was skipped.

Each new claim reads smaller pages, because a page may have taken longer than the catalog allows.
"""

from __future__ import annotations

import asyncio
import json
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Environment
from playhead.errors import NotFound, PlayheadError
from playhead.keys import content_type_of
from playhead.model import Replay, Report, ReportCount, ReportFilter, ReportLine, ReportOutcome, ReportWork
from playhead.model.reports import has_failed
from playhead.ports.catalog.reports import ClaimedReport, Reports, WrittenPart
from playhead.ports.store import Blob, Store
from playhead.reading.lookup import check_records, find_replay

PART_LINES: Final = 50_000
PART_BYTES: Final = 16_777_216
ALL_LINES: Final = ReportFilter()
_PAGE: Final = 1_000
_MOST_DUE: Final = 10
_MOST_CLAIMS: Final = 6
_FIRST_DELAY_SECONDS: Final = 5.0
_Ended = tuple[ReportOutcome, ReportWork, str | None, bool]
"""How an object ended: the fields of `ReportCount` before their number."""


class ReportCatalog(Reports, Protocol):
    """The part of the catalog that `ReportService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


class _EpochRaised(Exception):
    """Another process writes the report, or the execution has been resumed."""


class ReportService:
    """Writes the reports of replays that have ended, and reads them.

    Args:
        lease: seconds; the lease of each report is renewed every third of it.
        page: rows that are read at once.
        part_lines: lines of a part.
        part_bytes: size after which a part ends early: errors of steps may be long.
    """

    def __init__(
        self,
        catalog: ReportCatalog,
        store: Store,
        env: Environment,
        *,
        lease: float,
        page: int = _PAGE,
        part_lines: int = PART_LINES,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._env = env
        self._lease = lease
        self._page = page
        self._part_lines = part_lines
        self._part_bytes = part_bytes
        self._held: ClaimedReport | None = None
        self._writing = asyncio.Lock()

    # -- read --------------------------------------------------------------------------------------

    async def get(self, batch: UUID, revision: int | None = None) -> Report:
        """Return the report of an end of a replay.

        Args:
            revision: of which end; None: of the last one, or of the next one while the execution runs.

        Raises:
            NotFound: `replay_not_found`, `report_not_found`, `records_deleted`.
        """
        check_records(await find_replay(self._catalog, batch))
        found = await self._catalog.report(batch, revision)
        if found is None:
            which = "no report" if revision is None else f"no report of its end {revision}"
            raise NotFound(
                "report_not_found",
                f"replay {batch} has {which}: a report is written if the replay was started with "
                "`report: true`, or with any other field beyond the required ones",
            )
        return found

    async def write_again(self, batch: UUID) -> Report:
        """Let the report of the last end of a replay be written again, if it has failed.

        Raises:
            NotFound: `replay_not_found`, `report_not_found`, `records_deleted`.
        """
        await self._catalog.ask_report_again(batch)
        return await self.get(batch)

    async def lines(
        self, batch: UUID, revision: int | None = None, where: ReportFilter = ALL_LINES
    ) -> AsyncIterator[bytes]:
        """Return the lines of a stored report, in chunks of bytes.

        The first chunk is read before this method returns, so an unavailable store raises here.

        Raises:
            NotFound: `replay_not_found`, `report_not_found`, `records_deleted`; `object_not_found` if it was
                pruned.
            Unavailable: the store is unreachable.
        """
        report = await self.get(batch, revision)
        if report.state != "stored":
            why = f": {report.error}" if report.error else ""
            raise NotFound(
                "report_not_found",
                f"the report of replay {batch} is not stored; its state is {report.state!r}{why}",
            )
        chunks = self._chunks(report)
        first = await anext(chunks, b"")

        async def all_chunks() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        return all_chunks() if where == ALL_LINES else _filtered(all_chunks(), where)

    async def _chunks(self, report: Report) -> AsyncIterator[bytes]:
        for part in report.parts:
            async for chunk in self._store.stream(part.key):
                yield chunk

    # -- write -------------------------------------------------------------------------------------

    async def write_due(self) -> None:
        """Write the reports that are due, one after the other. Raises `Unavailable` for the catalog."""
        async with self._writing:
            for execution in await self._catalog.reports_due(lease=self._lease, limit=_MOST_DUE):
                self._held = await self._catalog.claim_report(
                    execution, owner=self._env.process, lease=self._lease, most=_MOST_CLAIMS
                )
                try:
                    if self._held:
                        await self._write(self._held)
                finally:
                    self._held = None

    async def renew(self) -> None:
        """Renew the lease of the report that is written here. Call it every third of a lease.

        A slow page of the store may take longer than a lease. Raises `Unavailable`.
        """
        if held := self._held:
            await self._catalog.renew_report(held, lease=self._lease)

    async def _write(self, held: ClaimedReport) -> None:
        about: dict[str, Any] = {"execution_id": str(held.execution), "revision": held.revision}
        try:
            counts = Counter[_Ended]()
            parts = await self._write_parts(held, counts)
            if not await self._catalog.store_report(held, parts, _sorted(counts)):
                return
        except _EpochRaised:
            return
        except PlayheadError as exc:
            # Only the report fails. If the catalog is unavailable, this raises, and the lease expires.
            events.emit(events.REPORT_DELAYED, **about, detail=exc.detail)
            seconds = _FIRST_DELAY_SECONDS * 2 ** _repetition(held)
            await self._catalog.delay_report(held, seconds=seconds, error=exc.detail)
            return
        faults.reach("report.stored")
        events.emit(events.REPORT_STORED, **about, lines=sum(part.lines for part in parts))

    async def _write_parts(self, held: ClaimedReport, counts: Counter[_Ended]) -> list[WrittenPart]:
        parts: list[WrittenPart] = []
        lines = size = 0
        text: list[bytes] = []
        after = 0
        limit = max(self._page >> _repetition(held), 1)
        failed, skipped = _Counts(), _Counts()
        async for some in self._catalog.failures_below(held, limit=limit):
            for below in some:
                failed.add(below.ordinal, below.failed)
                skipped.add(below.ordinal, below.skipped)
        while True:
            page = await self._catalog.report_lines(held, after=after, limit=limit)
            for ordinal, one in enumerate(page, after + 1):
                failed_below = failed.of(ordinal)
                line = _encoded(one, failed_below, skipped.of(ordinal))
                code = one.error.code if one.error else None
                counts[one.outcome, one.work, code, failed_below > 0] += 1
                text.append(line)
                lines, size = lines + 1, size + len(line)
                if lines == self._part_lines or size >= self._part_bytes:
                    parts.append(await self._write_part(held, len(parts) + 1, lines, b"".join(text)))
                    lines = size = 0
                    text.clear()
            if len(page) < limit:
                break
            after += len(page)
        if text:
            parts.append(await self._write_part(held, len(parts) + 1, lines, b"".join(text)))
        return parts

    async def _write_part(self, held: ClaimedReport, number: int, lines: int, data: bytes) -> WrittenPart:
        key = f"{held.prefix}/{number:06}.jsonl"
        part = WrittenPart(key, lines, len(data), sha256(data).digest())
        if not await self._catalog.bind_report(held, part):
            raise _EpochRaised
        faults.reach("report.bound")
        (problem,) = await self._store.write([[Blob(key, data, content_type_of(key))]])
        if problem:
            raise problem
        faults.reach("report.written")
        return part


def _repetition(held: ClaimedReport) -> int:
    """Return how often the report was claimed before, since it was due or asked for."""
    return (held.epoch - 1) % _MOST_CLAIMS


class _Counts:
    """A number for each object, in 4 bytes."""

    def __init__(self) -> None:
        self._counts = array("I")

    def add(self, ordinal: int, number: int) -> None:
        if number:
            missing = ordinal + 1 - len(self._counts)
            self._counts.frombytes(bytes(self._counts.itemsize * max(missing, 0)))
            self._counts[ordinal] += number

    def of(self, ordinal: int) -> int:
        return self._counts[ordinal] if ordinal < len(self._counts) else 0


def _encoded(line: ReportLine, failed_below: int, skipped_below: int) -> bytes:
    fields = {
        "key": line.key,
        "correlation_id": str(line.correlation_id),
        "outcome": line.outcome,
        "work": line.work,
        "failed_below": failed_below,
        "skipped_below": skipped_below,
        "error": asdict(line.error) if line.error else None,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _sorted(counts: Counter[_Ended]) -> list[ReportCount]:
    return [ReportCount(*ended, objects) for ended, objects in counts.most_common()]


async def _filtered(chunks: AsyncIterator[bytes], where: ReportFilter) -> AsyncIterator[bytes]:
    """Yield those lines that fit a filter. A chunk may end within a line."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if found := [line for line in lines if _fits(json.loads(line), where)]:
            yield b"\n".join((*found, b""))


def _fits(line: Mapping[str, Any], where: ReportFilter) -> bool:
    failed = has_failed(line["outcome"], line["work"], line["failed_below"])
    code = line["error"] and line["error"]["code"]
    return (
        where.outcome in (None, line["outcome"])
        and where.work in (None, line["work"])
        and where.error_code in (None, code)
        and where.failed in (None, failed)
    )
