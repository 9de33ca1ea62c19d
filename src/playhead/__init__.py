"""Playhead: run message pipelines, store the outputs of each stage, and replay them into any route."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playhead.client import AsyncClient, Client, connect
    from playhead.errors import PlayheadError
    from playhead.model import Canary, DepthPace, Guard, RatePace, Selection
    from playhead.ports.adapter import Context, Item, Output, RateLimited, Reject, Retry, adapter

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Canary",
    "Client",
    "Context",
    "DepthPace",
    "Guard",
    "Item",
    "Output",
    "PlayheadError",
    "RateLimited",
    "RatePace",
    "Reject",
    "Retry",
    "Selection",
    "__version__",
    "adapter",
    "connect",
]


def __getattr__(name: str) -> object:
    """Return a public name. It is imported at its first use, because `playhead --help` uses none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("AsyncClient", "Client", "connect"):
        from playhead import client

        return getattr(client, name)
    if name == "PlayheadError":
        from playhead.errors import PlayheadError

        return PlayheadError
    if name in ("Canary", "DepthPace", "Guard", "RatePace", "Selection"):
        from playhead import model

        return getattr(model, name)
    from playhead.ports import adapter as port

    return getattr(port, name)


def __dir__() -> list[str]:
    return sorted(__all__)
