"""`run`: process inputs with a config, in this process, until all are done."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from playhead.cli import complete, config, executions, exits, output, progress, workers
from playhead.cli.command import NAMES_IN_SHORT, RequireCode, Version, command
from playhead.cli.session import Session, Usage, limits_of
from playhead.early_exit import REAL_EXIT
from playhead.errors import CatalogDamaged, ConfigInvalid, Conflict, Unavailable
from playhead.model import Compare

if TYPE_CHECKING:
    import asyncio

    from playhead.bootstrap.process import Runtime
    from playhead.cli.deployment import Deployment
    from playhead.cli.given import Given
    from playhead.model import Dataset, Execution, Publication

_CHECK_SECONDS = 5.0


@command("run", example="playhead run docs.yaml pages/ --tag nightly", changes=True)
async def run(
    s: Session,
    of: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="The name of a config, or a YAML file. The command applies a file before it starts the run.",
            autocompletion=complete.config_to_run,
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, or - for standard input. Files in a folder keep their relative paths.",
        ),
    ],
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="T",
            help="A tag by which to find this run later. Repeatable.",
            autocompletion=complete.tag,
        ),
    ] = None,
    version: Version = None,
    split: Annotated[
        Literal["lines"] | None, typer.Option("--split", help="Make each line of the files a separate input.")
    ] = None,
    path_field: Annotated[
        str | None,
        typer.Option(
            "--path-field",
            metavar="FIELD",
            help="With --split: the field whose value names the input.  [default: the number of the line]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="PATH", help="With - as INPUT: the path of standard input."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit the run and return; workers process its messages.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, metavar="N", help="Number of processes that work on the run.")
    ] = 1,
    require_code: RequireCode = False,
    changed_since: Annotated[
        str | None,
        typer.Option(
            "--changed-since",
            metavar="EXECUTION",
            help="Process only what has changed since this run, and take over its other results: "
            f"{NAMES_IN_SHORT}. `previous` is the newest run of this config that processed all its inputs.",
            autocompletion=complete.earlier_run,
        ),
    ] = None,
    compare: Annotated[
        Compare | None,
        typer.Option(
            "--compare",
            help="With --changed-since: what must be the same of an adapter, its code or only its version.  "
            "[default: code]",
        ),
    ] = None,
    trust_mtime: Annotated[
        bool,
        typer.Option(
            "--trust-mtime",
            help="With --changed-since: do not read files whose size, modification time and inode are as in "
            "that run.",
        ),
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse",
            help="Take over the results of earlier executions of this config for items that are the same, "
            "whatever their paths. --changed-since does this in any case.",
        ),
    ] = False,
) -> int:
    """Run files through a config.

    Stores the files as inputs, processes them, and exits when all are done. With --server, the
    workers of that server process them, and this command waits. Exit code 1 if a message failed permanently.
    """
    from playhead.cli import given, stdin
    from playhead.services.submit import check_tags

    file = Path(of) if is_file(of) else None
    if processes > 1 and (detach or s.server is not None):
        raise Usage("--processes is for a run on this machine; start `playhead worker --processes N` instead")
    if file and version:
        raise Usage("--version applies to a config name, not to a file")
    source = config.read(file) if file else b""
    with limits_of(tags="--tag"):
        check_tags(tag or ())
    if "" in paths:
        raise Usage("an INPUT is empty; the current folder is `.`")
    if path_field is not None and split is None:
        raise Usage("--path-field needs --split lines: a field of each line names an input")
    if compare is not None and changed_since is None:
        raise Usage("--compare needs --changed-since: the run whose adapters are compared")
    if trust_mtime and changed_since is None:
        raise Usage("--trust-mtime needs --changed-since: the run that has read the files")
    if trust_mtime and (split or s.server is not None):
        raise Usage("--trust-mtime is for whole files that this command reads: not for --split and --server")
    name = given.name_of_stdin(paths, name, path_field)
    s.interrupted = "stopped before all inputs were stored; no run was started"
    with ExitStack() as files:
        files.enter_context(output.reserved())
        standard_input = None
        if name is not None:
            limit = None if split else s.settings.max_object_bytes
            standard_input = name, files.enter_context(stdin.spooled(limit))
        found = given.find(s, paths, standard_input, split is not None, path_field, trust_mtime=trust_mtime)
        return await _run(
            *(s, of, file, source, found, version, tag or ()),
            detach=detach,
            processes=processes,
            require_code=require_code,
            changed_since=changed_since,
            compare=compare or "code",
            reuse=reuse,
        )


async def _run(
    s: Session,
    of: str,
    file: Path | None,
    source: bytes,
    given: Given,
    version: int | None,
    tags: Sequence[str],
    *,
    detach: bool,
    processes: int,
    require_code: bool,
    changed_since: str | None,
    compare: Compare,
    reuse: bool,
) -> int:
    async with s.open("run", creates_home=True) as rt:
        if file:
            s.file = of
            applied, new = await rt.services.configs.apply(source)
            config.tell_applied(applied, new, of)
            of, version = applied.name, applied.version
        elif not detach and rt.here:
            await _check_adapters(rt, of, version)
        resolve = rt.services.resolve
        since = await resolve.earlier_run(changed_since, of) if changed_since is not None else None
        with progress.display() as shown:

            def handed_out(done: int) -> None:
                shown.storing(done, given.count)
                if done == given.count and not rt.here:
                    s.interrupted = (
                        "stopped while the last inputs were sent: if all arrived, the run continues, and "
                        f"`{s.again('playhead executions')}` shows it"
                    )

            execution = await rt.services.submit.run(
                of,
                given.read(handed_out),
                version=version,
                tags=tuple(tags),
                require_code=require_code,
                changed_since=since,
                compare=compare,
                reuse=reuse,
                warn=output.warn,
                indexed=shown.indexing,
            )
            identity = execution.execution_id
            s.interrupted = _unfinished(s, execution)
            code = exits.OK
            if detach:
                await workers.tell_if_none(rt)
            else:
                if rt.here:
                    code, execution = await _work(s, rt.here, execution, shown, processes)
                else:
                    stalled = partial(workers.tell_if_stalled, rt)
                    execution = await progress.watch(rt.services, identity, shown, stalled)
        if not detach and execution.config and execution.status in ("completed", "failed"):
            _tell_published(await rt.services.publish.publish_run(identity, execution.config))
        if s.json:
            steps = []
        elif detach:
            steps = [f"playhead show {identity}"]
        else:
            stored = await rt.services.executions.stage_totals(identity)
            steps = await executions.next_steps(rt, execution, stored.stages)
    if s.json:
        output.emit(execution)
    else:
        executions.describe(execution)
        executions.suggest(s, steps)
    if detach:
        return exits.OK
    if code and execution.status == "running":
        output.note(s.interrupted)
    return code or (exits.OK if execution.status == "completed" else exits.FAILED)


def _tell_published(found: Sequence[tuple[Dataset, Publication | Conflict | None]]) -> None:
    for dataset, made in found:
        if made is None:
            name = f"{dataset.config}/{dataset.name}"
            output.note(
                f"Not published in {dataset.name}: held since a rollback. Why: playhead publications {name}. "
                f"To publish later runs automatically again: playhead release {name}"
            )
        elif isinstance(made, Conflict):
            output.note(f"Not published in {dataset.name}: {made.detail}")
        else:
            output.note(f"Published in {dataset.name} as {made.n}")


def is_file(of: str) -> bool:
    """Whether CONFIG names a file: by its form, so that existing files do not change the meaning."""
    return of.endswith((".yaml", ".yml")) or "/" in of


def _unfinished(s: Session, execution: Execution) -> str:
    """Return what Ctrl-C reports from now on."""
    identity = execution.execution_id
    if s.server is None:
        goes_on = "is not finished; `playhead worker --until-idle` continues it"
    else:
        goes_on = f"continues on the server; `{s.again(f'playhead show {identity}')}` shows its progress"
    return f"execution {identity} {goes_on}, `{s.again(f'playhead cancel {identity}')}` ends it"


async def _check_adapters(rt: Deployment, of: str, version: int | None) -> None:
    """Refuse a config whose adapters this process does not have: the run would wait forever."""
    configs = rt.services.configs
    applied = await configs.get(of, version)
    if faults := [fault for fault in await configs.validate(applied.source) if fault.code.startswith("E2")]:
        raise ConfigInvalid(
            f"this process lacks adapters of config {of!r} version {applied.version}; set PLAYHEAD_ADAPTERS "
            "as when it was applied, or leave the work to workers that have them: --detach",
            faults,
        )


async def _work(
    s: Session, rt: Runtime, execution: Execution, shown: progress.Display, processes: int
) -> tuple[int, Execution]:
    import asyncio

    from playhead.workers import crew

    identity = execution.execution_id
    with _interruptible(s) as stop:
        watchers = [
            asyncio.create_task(progress.watch(rt.services, identity, shown)),
            asyncio.create_task(_stop_if_damaged(rt, stop)),
        ]
        try:
            if processes == 1:
                code = await rt.work(until=identity, stop=stop, report_exit=partial(_report_exit, s))
            else:
                # This process runs no steps, so no step can end it.
                code = await crew(s.settings, (), processes, until_idle=False, until=identity).tend(stop)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.wait(watchers)
    for watcher in reversed(watchers):
        if not watcher.cancelled():
            watcher.result()
    execution = await rt.services.executions.get(identity)
    if stop.is_set() and execution.status == "running":
        raise KeyboardInterrupt
    return code, execution


def _report_exit(s: Session, call: str) -> None:
    s.fail("step_exited", f"{call} ended this process; {s.interrupted}")
    with output.stdout() as stdout:
        stdout.flush()


async def _stop_if_damaged(rt: Runtime, stop: asyncio.Event) -> None:
    """Stop the work when the catalog is damaged. Otherwise the worker would retry its operations forever."""
    import asyncio

    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        try:
            await rt.catalog.check()
        except CatalogDamaged:
            stop.set()
            raise
        except Unavailable:
            continue


@contextmanager
def _interruptible(s: Session) -> Iterator[asyncio.Event]:
    """Set the event on Ctrl-C, so that running steps finish. A second Ctrl-C ends the process at once; its
    messages are then processed by others, so nothing is lost."""
    import asyncio

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.is_set():
            s.fail("interrupted", s.interrupted)
            with output.stdout() as stdout:
                stdout.flush()
            REAL_EXIT(exits.INTERRUPTED)
        output.note("stopping after the running steps; press Ctrl-C again to stop at once")
        stop.set()

    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
