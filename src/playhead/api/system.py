"""Health, for people and for probes."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.errors import ERRORS, ErrorCode
from playhead.api.schemas import Liveness, Readiness
from playhead.model import Examination, Health, Page
from playhead.reading.paging import list_of, page_of

router = operations(tags=["system"])

_not_ready: dict[int | str, dict[str, Any]] = {
    503: {"model": Readiness, "description": "A backend is unavailable."}
}


def _version(request: Request) -> str:
    return str(request.app.version)


@router.get("/api/v1/system/health", scope="any")
async def get_health(request: Request, asked: Asked) -> Health:
    """Return the state of the three backends, and the live processes. Always 200."""
    return await asked.system.health(_version(request))


@router.post("/api/v1/system/doctor", scope="operate", responses={500: responses()[500]})
async def examine(asked: Asked) -> Examination:
    """Examine the three backends from this server, and suggest fixes. Always 200.

    Checks connection, version and permissions of each, and writes and reads test data, which is then removed.
    """
    return await asked.doctor.examine()


@router.get(
    "/api/v1/errors",
    scope="any",
    responses={status: responses("invalid_cursor")[status] for status in (400, 500)},
)
async def list_errors(limit: Limit = 100, cursor: Cursor = None) -> Page[ErrorCode]:
    """List the error codes of this API, each with its meaning and HTTP status."""
    return page_of(ERRORS, lambda error: error.code, cursor, limit, list_of("errors"))


@router.get("/healthz", scope="public")
async def get_liveness() -> Liveness:
    """Report that the process responds. Does not check any backend."""
    return Liveness()


@router.get("/readyz", scope="public", responses=_not_ready)
async def get_readiness(request: Request, response: Response, asked: Asked) -> Readiness:
    """Check whether every backend can be reached: 200, else 503. `system/health` has the reason."""
    status = (await asked.system.health(_version(request))).status
    response.status_code = 200 if status == "ok" else 503
    return Readiness(status=status)
