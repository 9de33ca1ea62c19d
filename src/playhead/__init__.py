"""Playhead: run message pipelines, store every stage's outputs, replay any stored stage into any route."""

from playhead.ports.adapter import Context, Item, Output, Reject, Retry, adapter

__version__ = "0.1.0"

__all__ = ["Context", "Item", "Output", "Reject", "Retry", "__version__", "adapter"]
