"""Runs, from their creation to their sealed inputs. `jobs` continues with the job that lists these inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.model import AdapterCode, Execution


class Input(NamedTuple):
    """An input of a run, before its bytes are stored.

    Attributes:
        path: relative to `input`.
        sha256: 32 bytes.
        stamp: of its file; see `ports.inputs.File`.
    """

    path: str
    size: int
    sha256: bytes
    content_type: str
    stamp: str | None = None


class Unread(NamedTuple):
    """An input of a run whose file was not read. `path`, `size` and `stamp` are as in `Input`."""

    path: str
    size: int
    stamp: str


ReusableRoutes = Mapping[str, Sequence[Sequence[AdapterCode]] | None]


class Reusable(NamedTuple):
    """What an execution may take over from earlier ones of the same config.

    Attributes:
        execution: an earlier run, whose results are taken over for items with the same paths; None: no run.
        routes: the routes for which this is done, each with the codes of its chain of adapters that may have
            produced the results, the newest code first; None: other programs consume its queue.
        replays: the same for replays of the earlier run, and of publications of its config.
        declared: by route, the executions of replays with which a person has declared that other results of
            this route are valid, whatever their code. They are among `replays`.
        items: the routes whose results are taken over for any item that is the same, whatever its path and
            its execution, with the codes that may have produced them.
    """

    execution: UUID | None = None
    routes: ReusableRoutes = MappingProxyType({})
    replays: Mapping[UUID, ReusableRoutes] = MappingProxyType({})
    declared: Mapping[str, Sequence[UUID]] = MappingProxyType({})
    items: ReusableRoutes = MappingProxyType({})


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
        reuse: Reusable | None = None,
    ) -> Execution:
        """Create an execution of kind `run`, held by `owner`, whose inputs are added later.

        The caller chooses the id, so it can undo the call if the answer is lost. `traceparent` is stored, and
        becomes part of every dispatch of the execution.

        No process can acquire the job until it is sealed. If the owner dies before that, `fail_unsealed` ends
        the run once `lease` seconds have passed since this call and since the owner's last heartbeat.

        With `reuse`, `record` and `finish` take over results. If it names an earlier run, neither that nor
        its `replays` are pruned before this one has settled.
        Raises `Conflict` (`execution_pruned`) if all objects of the earlier run are pruned already.
        """
        ...

    async def index_results(self, config: str, progress: Callable[[int], None] = ...) -> None:
        """Index the results of the newest settled executions of a config, so that `reuse.items` finds them.

        May take long at its first call. `progress` is called with the number of results so far.
        """
        ...

    async def bind_inputs(
        self, execution: UUID, inputs: Sequence[Input], *, takes_over: bool = False
    ) -> set[str]:
        """Record inputs as bound (`writing`) before their bytes are stored.

        A path may be repeated with the same size and sha256. Otherwise raises `BadRequest` (`invalid_path`:
        two inputs have one path). Raises `Conflict` (`execution_ended`) if inputs of the run were pruned.

        `takes_over`: the run was opened with `reuse`. Returns the keys of inputs whose bytes need not be
        stored, because the earlier run has the same bytes under the same path.
        """
        ...

    async def refer_inputs(self, execution: UUID, files: Sequence[Unread]) -> set[str]:
        """Bind files as references that had the same sizes and stamps in the earlier run; return their keys.

        The others are not bound. The run was opened with `reuse`. Raises like `bind_inputs`.
        """
        ...

    async def seal(self, execution: UUID) -> bool:
        """Make all inputs `stored` and the job ready to be acquired, in one transaction.

        Returns False if the execution no longer waits for it: it was cancelled, or failed.
        """
        ...
