"""`run`: inputs through a config, worked on in this process until all is done."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import config, executions, exits, inputs, output, progress
from playhead.cli.command import command
from playhead.cli.session import Session, Usage
from playhead.errors import ConfigInvalid

if TYPE_CHECKING:
    import asyncio

    from playhead.bootstrap import Runtime
    from playhead.model import Execution
    from playhead.services.browse import BrowseService


@command("run", example="playhead run docs.yaml pages/ --tag nightly")
async def run(
    s: Session,
    of: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A config's name, or a YAML file, which is applied first.")
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT", help="Files and folders; those of a folder keep their paths in it."),
    ],
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="T", help="To find it again: may be given again.")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, metavar="N", help="Of a config's name.  [default: the newest]"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Only submit; workers do the work.")] = False,
) -> int:
    """Run files through a config.

    Stores them as inputs and works here, in this process, until all is done. Exit code 1 when a message
    failed for good.
    """
    file = Path(of) if is_file(of) else None
    if file and version:
        raise Usage("--version goes with a config's name: a file is applied and runs as what it is")
    source = config.read(file) if file else b""
    found = inputs.find(paths, s.settings.max_object_bytes)
    if found.left_out:
        output.note(f"left out: {found.left_out}")
    s.interrupted = "stopped before all inputs were stored; nothing was run"
    async with s.open("run") as rt:
        if file:
            s.file = of
            applied, new = await rt.services.configs.apply(source)
            config.tell_applied(applied, new, of)
            of, version = applied.name, applied.version
        elif not detach:
            await _check_adapters(rt, of, version)
        with progress.display() as shown:
            execution = await rt.services.submit.run(
                of,
                inputs.read(found, lambda done: shown.storing(done, len(found.files))),
                version=version,
                tags=tuple(tag or ()),
            )
            identity = execution.execution_id
            s.interrupted = (
                f"execution {identity} is not finished; `playhead worker --until-idle` goes on with it, "
                f"`playhead cancel {identity}` ends it"
            )
            code = exits.OK
            if not detach:
                code, execution = await _work(s, rt, execution, shown)
        if detach:
            await _tell_if_alone(rt.services.browse)
        if s.json:
            steps = []
        elif detach:
            steps = [f"playhead show {identity}"]
        else:
            browse = rt.services.browse
            steps = await executions.next_steps(browse, execution, await browse.stages(identity))
    if s.json:
        output.emit(execution)
    else:
        executions.describe(execution)
        executions.suggest(steps)
    if detach:
        return exits.OK
    return code or (exits.OK if execution.status == "completed" else exits.FAILED)


def is_file(of: str) -> bool:
    """Whether CONFIG names a file: by its form, so that what lies nearby can't change what is meant."""
    return of.endswith((".yaml", ".yml")) or "/" in of


async def _check_adapters(rt: Runtime, of: str, version: int | None) -> None:
    """Refuse what this process can't work: it would wait for ever for another that has the adapters."""
    configs = rt.services.configs
    applied = await configs.get(of, version)
    if faults := [fault for fault in await configs.validate(applied.source) if fault.code.startswith("E2")]:
        raise ConfigInvalid(
            f"config {of!r} version {applied.version} can't be worked here: start with the PLAYHEAD_ADAPTERS "
            "it was applied with, or leave the work to workers that have them: --detach",
            faults,
        )


async def _work(
    s: Session, rt: Runtime, execution: Execution, shown: progress.Display
) -> tuple[int, Execution]:
    import asyncio

    identity = execution.execution_id
    watcher = asyncio.create_task(progress.watch(rt.services.browse, identity, shown))
    try:
        with _interruptible(s) as stop:
            code = await rt.work(until=identity, stop=stop)
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
    if not watcher.cancelled():
        watcher.result()
    execution = await rt.services.browse.execution(identity)
    if stop.is_set() and execution.status == "running":
        raise KeyboardInterrupt
    return code, execution


@contextmanager
def _interruptible(s: Session) -> Iterator[asyncio.Event]:
    """Ctrl-C sets the event, so that what is in hand is finished; a second one ends the process at once,
    which loses nothing either: what a dead process held is taken up by others."""
    import asyncio

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.is_set():
            s.fail("interrupted", s.interrupted)
            sys.stdout.flush()
            os._exit(exits.INTERRUPTED)
        output.note("stopping: what is in hand is finished first; Ctrl-C again stops at once")
        stop.set()

    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


async def _tell_if_alone(browse: BrowseService) -> None:
    if not any(worker.queues for worker in (await browse.health("")).workers):
        output.note("No worker runs: playhead worker --until-idle")
