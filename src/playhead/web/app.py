"""The ASGI app of the web UI: pages, their `.json` twins, live numbers, forms and assets.

A page at `/executions` also answers at

- `/executions.json`: its view, and the calls of the API behind it;
- `/executions.live`: its live numbers, as an event stream, or once as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp, Scope

from playhead.errors import PlayheadError
from playhead.services import Services
from playhead.web import (
    access,
    affected,
    audit,
    batch,
    causereplay,
    causes,
    compare,
    config,
    configform,
    configlist,
    datasets,
    dead_letters,
    execution,
    executionactions,
    executions,
    find,
    help,
    home,
    login,
    message,
    objects,
    oidc,
    prune,
    publication,
    publishform,
    queues,
    replay,
    replays,
    result,
    rollbackform,
    runform,
    system,
    why,
)
from playhead.web.page import PATIENCE_SECONDS, Action, Page, Raw
from playhead.web.site import Site

PAGES: Final[Sequence[Page]] = (
    *home.PAGES,
    *dead_letters.PAGES,
    *causes.PAGES,
    *affected.PAGES,
    *audit.PAGES,
    *find.PAGES,
    *queues.PAGES,
    *executions.PAGES,
    *execution.PAGES,
    *configlist.PAGES,
    *compare.PAGES,
    *result.PAGES,
    *replay.PAGES,
    *replays.PAGES,
    *batch.PAGES,
    *objects.PAGES,
    *message.PAGES,
    *why.PAGES,
    *system.PAGES,
    *config.PAGES,
    *configform.PAGES,
    *publishform.PAGES,
    *rollbackform.PAGES,
    *runform.PAGES,
    *prune.PAGES,
    *datasets.PAGES,
    *publication.PAGES,
    *help.PAGES,
    *access.PAGES,
)
ACTIONS: Final[Sequence[Action]] = (
    *dead_letters.ACTIONS,
    *queues.ACTIONS,
    *causes.ACTIONS,
    *causereplay.ACTIONS,
    *replay.ACTIONS,
    *batch.ACTIONS,
    *executionactions.ACTIONS,
    *result.ACTIONS,
    *publishform.ACTIONS,
    *rollbackform.ACTIONS,
    *runform.ACTIONS,
    *prune.ACTIONS,
    *publication.ACTIONS,
    *datasets.ACTIONS,
    *system.ACTIONS,
    *configform.ACTIONS,
    *access.ACTIONS,
)
RAW: Final[Sequence[Raw]] = (*objects.RAW, *login.RAW, *oidc.RAW)


class Pages(NamedTuple):
    """The web UI.

    Attributes:
        app: answers requests of callers.
        signed_out: the answer to a request without a valid caller; None: the path is not a page.
    """

    app: ASGIApp
    signed_out: Callable[[Scope, PlayheadError], ASGIApp | None]


def create_pages(
    services: Services,
    *,
    version: str,
    status: Mapping[str, int],
    patience: float | None = PATIENCE_SECONDS,
    public_url: str | None = None,
) -> Pages:
    """Return the app of the web UI.

    Args:
        services: services that the pages ask.
        version: version of Playhead.
        status: HTTP status of each error code.
        patience: how many seconds pages wait for counts; None: until they are complete.
        public_url: address of the server for browsers; None: the one that they use.
    """
    site = Site(services, PAGES, ACTIONS, RAW, version, status, patience, public_url)
    app = ExceptionMiddleware(
        Router(site.routes()), handlers={Exception: site.fail, HTTPException: site.fail}
    )
    return Pages(GZipMiddleware(app, minimum_size=1000, compresslevel=5), site.signed_out)
