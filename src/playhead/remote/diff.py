"""Comparisons of executions over HTTP."""

from __future__ import annotations

from typing import Final

from playhead.remote.derived import Remote, derived
from playhead.services.diff import DiffService
from playhead.services.result import ResultService

_SECONDS: Final = 600.0
"""Comparing a million objects takes longer than other requests."""


class RemoteDiff(Remote):
    """Remote `DiffService`."""

    summary = derived(DiffService.summary, "executions/{a}/diff/{b}", seconds=_SECONDS)
    objects = derived(DiffService.objects, "executions/{a}/diff/{b}/objects", seconds=_SECONDS)


class RemoteResult(Remote):
    """Remote `ResultService`."""

    matrix = derived(ResultService.matrix, "executions/{a}/result/{b}", seconds=_SECONDS)
    groups = derived(ResultService.groups, "executions/{a}/result/{b}/groups", seconds=_SECONDS)
    objects = derived(ResultService.objects, "executions/{a}/result/{b}/objects", seconds=_SECONDS)
