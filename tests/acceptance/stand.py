"""A deployment in which processes are killed at a named point, and restarted.

A case consists of a `Job`, a point, the process that dies there, how to go on (`Stand.start`, or processes of
the test), and what the test judges.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import httpx

from tests.acceptance.processes import STEPS, Deployment, open_deployment

_PAUSE_SECONDS = 0.02

Who = Literal["cli", "serve", "worker", "heir"]
"""Which process dies.

- `cli`: the command.
- `serve`: a server, during the request.
- `worker`: a worker that does what the command has asked for. The command has ended.
- `heir`: a worker that took the job over from the command, which was killed, too.
"""


@dataclass(frozen=True, slots=True)
class Job:
    """What a process does when it dies.

    Attributes:
        command: the arguments of `playhead`.
        path, body: the request with the same effect.
        begun: the fault point of the command at which an heir can take over.
    """

    command: Sequence[str] = ()
    path: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    begun: str = ""


class Stand:
    """A deployment, its server and its workers."""

    def __init__(self, deployment: Deployment, *, workers: int = 1) -> None:
        self.deployment = deployment
        self._workers = workers

    def start(self, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        # No workers of the server: they would outlive a killed server for a moment.
        self.server = self.deployment.serve(settings=settings)
        self.workers = [self.deployment.worker() for _ in range(self._workers)]

    def end(self) -> None:
        """Kill all processes, and omit them from later reports."""
        self.deployment.close()
        self.deployment.forget()

    def finished(self, config: str, inputs: Mapping[str, bytes]) -> str:
        """Run inputs to the end; return the execution."""
        execution = self.deployment.run(config, inputs)
        self.deployment.ended(execution)
        return execution

    def strike(
        self,
        who: Who,
        fault: str,
        job: Job,
        *,
        alone: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Let a process die at a point; return what the command printed.

        Args:
            fault: `point[:n]`.
            alone: whether all other processes are killed before.
            settings: of the process that dies.
        """
        deployment, answer = self.deployment, None
        if alone:
            self.end()
        if who == "serve":
            armed = deployment.serve(fault=fault, settings=settings)
            with suppress(httpx.TransportError):
                deployment.post(job.path, json=job.body)
        elif who == "cli":
            armed = deployment.start(*job.command, fault=fault, settings=settings)
        else:
            if who == "heir":
                deployment.struck(deployment.start(*job.command, fault=job.begun))
            else:
                answer = deployment.cli(*job.command)
            # Not `deployment.worker`: it may die before it has reported its start.
            armed = deployment.start("worker", fault=fault, settings=settings)
        deployment.struck(armed)
        deployment.forget()
        return answer


@contextmanager
def open_stand(*configs: str, adapters: Path = STEPS, workers: int = 1, **settings: str) -> Iterator[Stand]:
    """Open a deployment whose server and worker run, and apply configs.

    Args:
        adapters: a file of steps.
        settings: of each process.
    """
    with open_deployment(adapters=adapters, **settings) as deployment:
        stand = Stand(deployment, workers=workers)
        stand.start()
        for source in configs:
            deployment.apply(source)
        yield stand


@contextmanager
def reading(reader: AbstractContextManager[Callable[[], None]]) -> Iterator[None]:
    """Read all the time, in a thread. At the end, raise what a read has raised."""
    over, errors = threading.Event(), []

    def read_all() -> None:
        try:
            with reader as read:
                while not over.is_set():
                    read()
                    time.sleep(_PAUSE_SECONDS)
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=read_all)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
