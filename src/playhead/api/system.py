"""Health, for people and for probes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from playhead.api.asking import Asked
from playhead.model import Health

router = APIRouter(tags=["system"])

_not_ready: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "A backend is away."}}


def _version(request: Request) -> str:
    return str(request.app.version)


@router.get("/api/v1/system/health")
async def get_health(request: Request, asked: Asked) -> Health:
    """Tell how the three backends are, and which processes are alive. Always 200."""
    return await asked.browse.health(_version(request))


@router.get("/healthz")
async def get_liveness() -> dict[str, str]:
    """Tell that the process answers. Looks at nothing else."""
    return {"status": "ok"}


@router.get("/readyz", responses=_not_ready)
async def get_readiness(request: Request, response: Response, asked: Asked) -> Health:
    """Tell whether every backend can be reached: 200, else 503, with the body of `system/health`."""
    health = await asked.browse.health(_version(request))
    response.status_code = 200 if health.status == "ok" else 503
    return health
