"""Conditions on what has made the results of runs and replays: code of an adapter, or a worker."""

from __future__ import annotations

from playhead.model import CodeCondition, MadeByCondition, WorkerCondition, made_by_of


def affecting(text: str) -> MadeByCondition:
    """Read `chunk=2`, `chunk<2` or `worker:ID`. Raises `ValueError`."""
    by = made_by_of(text)
    if isinstance(by, CodeCondition) and by.is_newest:
        raise ValueError("compares with the newest code, which only a publication does")
    return by


def maker(adapter: str | None, worker: str | None) -> MadeByCondition:
    """Return the condition that one of these names: `chunk@2`, or the id of a worker. Raises `ValueError`."""
    if (adapter is None) == (worker is None):
        raise ValueError("name an adapter with its version, or a worker")
    return CodeCondition.at(adapter) if adapter is not None else WorkerCondition(worker or "")
