"""Runs, from their creation to their sealed inputs. `jobs` continues with the job that lists these inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.model import AdapterCode, Execution


class Input(NamedTuple):
    """An input of a run, before its bytes are stored. `path` is relative to `input`; `sha256` is 32 bytes."""

    path: str
    size: int
    sha256: bytes
    content_type: str


ReusableRoutes = Mapping[str, Sequence[Sequence[AdapterCode]] | None]


class Since(NamedTuple):
    """What a run may take over from an earlier run of the same config.

    Attributes:
        execution: the earlier run.
        routes: the routes whose results may be taken over, each with the codes of its chain of adapters that
            may have produced them; None: other programs consume its queue.
        replays: the same for replays of the earlier run.
    """

    execution: UUID
    routes: ReusableRoutes
    replays: Mapping[UUID, ReusableRoutes] = MappingProxyType({})


class Runs(Protocol):
    async def open_run(
        self,
        execution: UUID,
        config: str,
        version: int,
        *,
        tags: Sequence[str],
        owner: str,
        lease: float,
        traceparent: str | None = None,
        since: Since | None = None,
    ) -> Execution:
        """Create an execution of kind `run`, held by `owner`, whose inputs are added later.

        The caller chooses the id, so it can undo the call if the answer is lost. `traceparent` is stored, and
        becomes part of every dispatch of the execution.

        No process can acquire the job until it is sealed. If the owner dies before that, `fail_unsealed` ends
        the run once `lease` seconds have passed since this call and since the owner's last heartbeat.

        With `since`, `record` takes over results of that run. Neither it nor a replay of it is pruned before
        this one has settled.
        Raises `Conflict` (`execution_pruned`) if all of its objects are pruned already.
        """
        ...

    async def bind_inputs(
        self, execution: UUID, inputs: Sequence[Input], *, takes_over: bool = False
    ) -> set[str]:
        """Record inputs as bound (`writing`) before their bytes are stored.

        A path may be repeated with the same size and sha256. Otherwise raises `BadRequest` (`invalid_path`:
        two inputs have one path). Raises `Conflict` (`execution_ended`) if inputs of the run were pruned.

        `takes_over`: the run was opened with `since`. Returns the keys of inputs whose bytes need not be
        stored, because the earlier run has the same bytes under the same path.
        """
        ...

    async def seal(self, execution: UUID) -> bool:
        """Make all inputs `stored` and the job ready to be acquired, in one transaction.

        Returns False if the execution no longer waits for it: it was cancelled, or failed.
        """
        ...
