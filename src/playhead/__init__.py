"""Playhead: run message pipelines, store the outputs of each stage, and replay them into any route."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playhead.ports.adapter import Context, Item, Output, RateLimited, Reject, Retry, adapter

__version__ = "0.1.0"

__all__ = ["Context", "Item", "Output", "RateLimited", "Reject", "Retry", "__version__", "adapter"]


def __getattr__(name: str) -> object:
    """What adapters are written with, when it is first asked for: `playhead --help` has no use for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from playhead.ports import adapter as port

    return getattr(port, name)
