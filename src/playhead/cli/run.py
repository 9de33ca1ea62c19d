"""`run`: inputs through a config, worked on in this process until all is done."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import complete, config, executions, exits, output, progress
from playhead.cli.command import Version, command
from playhead.cli.session import Session, Usage
from playhead.errors import ConfigInvalid, Unavailable

if TYPE_CHECKING:
    import asyncio

    from playhead.bootstrap import Runtime
    from playhead.cli.site import Site
    from playhead.model import Execution


@command("run", example="playhead run docs.yaml pages/ --tag nightly")
async def run(
    s: Session,
    of: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A config's name, or a YAML file, which is applied first.",
            autocompletion=complete.config_to_run,
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files and folders; those of a folder keep their paths in it."),
    ],
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="T",
            help="To find it again: may be given again.",
            autocompletion=complete.tag,
        ),
    ] = None,
    version: Version = None,
    detach: Annotated[bool, typer.Option("--detach", help="Only submit; workers do the work.")] = False,
) -> int:
    """Run files through a config.

    Stores them as inputs and works here, in this process, until all is done; with --server the workers
    beside that server do the work, and this waits. Exit code 1 when a message failed for good.
    """
    from playhead.cli import inputs

    file = Path(of) if is_file(of) else None
    if file and version:
        raise Usage("--version goes with a config's name: a file is applied and runs as what it is")
    source = config.read(file) if file else b""
    _check_tags(tag or ())
    if "" in paths:
        raise Usage("an INPUT is empty; the folder you are in is `.`")
    found = inputs.find([Path(path) for path in paths], s.settings.max_object_bytes)
    if found.left_out:
        output.note(f"left out: {found.left_out}")
    if s.server is not None:
        _check_number(len(found.files))
    s.interrupted = "stopped before all inputs were stored; nothing was run"
    async with s.open("run") as rt:
        if file:
            s.file = of
            applied, new = await rt.services.configs.apply(source)
            config.tell_applied(applied, new, of)
            of, version = applied.name, applied.version
        elif not detach and rt.here:
            await _check_adapters(rt, of, version)
        with progress.display() as shown:

            def handed_out(done: int) -> None:
                shown.storing(done, len(found.files))
                if done == len(found.files) and not rt.here:
                    s.interrupted = (
                        "stopped while the last inputs were sent: if all of them arrived, they are run, and "
                        f"`{s.again('playhead executions')}` shows it"
                    )

            execution = await rt.services.submit.run(
                of, inputs.read(found, handed_out), version=version, tags=tuple(tag or ())
            )
            identity = execution.execution_id
            s.interrupted = _unfinished(s, execution)
            code = exits.OK
            if detach or not rt.here:
                await _tell_if_alone(rt)
            if not detach:
                if rt.here:
                    code, execution = await _work(s, rt.here, execution, shown)
                else:
                    execution = await progress.watch(rt.services.browse, identity, shown)
        if s.json:
            steps = []
        elif detach:
            steps = [f"playhead show {identity}"]
        else:
            steps = await executions.next_steps(rt, execution, await rt.services.browse.stages(identity))
    if s.json:
        output.emit(execution)
    else:
        executions.describe(execution)
        executions.suggest(s, steps)
    if detach:
        return exits.OK
    return code or (exits.OK if execution.status == "completed" else exits.FAILED)


def is_file(of: str) -> bool:
    """Whether CONFIG names a file: by its form, so that what lies nearby can't change what is meant."""
    return of.endswith((".yaml", ".yml")) or "/" in of


def _check_tags(tags: Sequence[str]) -> None:
    from playhead.services.submit import MAX_TAG_CHARACTERS, MAX_TAGS, TAG

    for tag in tags:
        if not (1 <= len(tag) <= MAX_TAG_CHARACTERS and re.fullmatch(TAG, tag)):
            raise Usage(
                f"--tag {tag[:MAX_TAG_CHARACTERS]!r}: a tag has 1 to {MAX_TAG_CHARACTERS} characters, "
                "none of them a control character"
            )
    if len(tags) > MAX_TAGS:
        raise Usage(f"{len(tags)} tags; a run has at most {MAX_TAGS}")


def _check_number(files: int) -> None:
    from playhead.services.submit import MAX_UPLOAD_FILES

    if files > MAX_UPLOAD_FILES:
        raise Usage(
            f"{files:,} input files; a server takes at most {MAX_UPLOAD_FILES:,} in one run: make it several "
            "runs with one --tag"
        )


def _unfinished(s: Session, execution: Execution) -> str:
    """What Ctrl-C leaves behind from now on."""
    identity = execution.execution_id
    if s.server is None:
        goes_on = "is not finished; `playhead worker --until-idle` goes on with it"
    else:
        goes_on = f"goes on without you; `{s.again(f'playhead show {identity}')}` shows how far it is"
    return f"execution {identity} {goes_on}, `{s.again(f'playhead cancel {identity}')}` ends it"


async def _check_adapters(rt: Site, of: str, version: int | None) -> None:
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


async def _tell_if_alone(site: Site) -> None:
    """Say that nobody does the work, if so."""
    try:
        workers = (await site.services.browse.health("")).workers
    except Unavailable:
        return  # what was done is told in any case
    # One that has just started is about to find its queues.
    if any(worker.queues or worker.kind == "worker" for worker in workers):
        return
    if site.here:
        output.note("No worker runs: playhead worker --until-idle")
    else:
        output.note("No worker runs beside the server: the work waits for one")
