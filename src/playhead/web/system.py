"""`/system`: the backends, the processes and their code; on request what `playhead doctor` finds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead import __version__
from playhead.model import Examination, Health, Worker
from playhead.warningtext import warning_text
from playhead.web.oldcode import without_current
from playhead.web.page import ROWS, Action, ApiCall, Ask, Missing, Page, Shown, or_missing, url


@dataclass(frozen=True, slots=True)
class SystemView:
    """The state of the deployment.

    Attributes:
        health: state of the backends.
        size: size and growth of the catalog, or why they cannot be read.
        workers: live processes with the code that they have loaded, or why they cannot be read.
        warnings: adapters of this server whose code has changed, but not their version.
        examination: what an examination has found; None: it was not asked for.
        next_url: next page of processes.
    """

    health: Health
    size: str | Missing
    workers: Sequence[Worker] | Missing
    warnings: Sequence[str] | Missing
    examination: Examination | None
    next_url: str | None


async def show(ask: Ask) -> Shown[SystemView]:
    return await _shown(ask)


async def examine(ask: Ask) -> Shown[SystemView]:
    """Examine the backends, which writes test data to them."""
    return await _shown(ask, await ask.services.doctor.examine())


async def _shown(ask: Ask, examination: Examination | None = None) -> Shown[SystemView]:
    services, cursor = ask.services, ask.text("cursor")
    health, size, workers, warnings = await asyncio.gather(
        services.system.health(__version__),
        or_missing(services.system.catalog_size),
        or_missing(services.workers.list, cursor, ROWS),
        or_missing(services.workers.unversioned),
    )
    calls = [
        ApiCall("/api/v1/system/health"),
        ApiCall(url("/api/v1/workers", limit=ROWS, cursor=cursor)),
    ]
    if examination:
        calls.append(ApiCall("/api/v1/system/doctor", "POST"))
    texts = warnings if isinstance(warnings, Missing) else [warning_text(one) for one in warnings]
    if isinstance(workers, Missing):
        return Shown("System", SystemView(health, size, workers, texts, examination, None), calls)
    next_url = url("/system", cursor=workers.next_cursor) if workers.next_cursor else None
    return Shown(
        "System",
        SystemView(health, size, without_current(workers.items), texts, examination, next_url),
        calls,
    )


PAGES: Final = (Page("/system", "system.html", show, scope="read"),)
ACTIONS: Final = (Action("/system", examine, "system.html", scope="operate"),)
