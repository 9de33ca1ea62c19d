"""`config …`: configs, from the YAML file to the version in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from playhead.cli import complete, exits, output
from playhead.cli.command import Cursor, Limit, Version, command
from playhead.cli.session import Session, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead.cli.deployment import Deployment
    from playhead.model import ConfigVersion, Diagnostic

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="YAML files.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The config's name.", autocompletion=complete.config)
]


@command("apply", example="playhead config apply docs.yaml", changes=True)
async def apply(s: Session, files: Files) -> None:
    """Store configs as new versions.

    If a config is equivalent to its newest version, no version is stored. If one of several files is
    invalid, the command stores none of them.
    """
    sources = [(file, read(file)) for file in files]
    async with s.open(checks_configs=True, creates_home=True) as rt:
        if len(sources) > 1:
            await _all_valid(s, rt, sources)
        stored = []
        for file, source in sources:
            s.file = str(file)
            stored.append(await rt.services.configs.apply(source, output.warn))
    versions = [version for version, _ in stored]
    if s.json:
        output.emit(versions[0]) if len(versions) == 1 else output.emit_list(versions)
        return
    for (file, _), (version, new) in zip(sources, stored, strict=True):
        tell_applied(version, new, str(file))


@command("validate", example="playhead config validate docs.yaml")
async def validate(s: Session, files: Files) -> int:
    """Check configs without storing them.

    Lists all errors and warnings at once, each with its line. Imports the adapters that the settings name,
    because each adapter validates the config of its steps. Exit code 1 if there is an error.
    """
    found = [*zip(map(str, files), await _faults(s, [read(file) for file in files]), strict=True)]
    bodies = [{"valid": _valid(faults), "diagnostics": faults} for _, faults in found]
    if s.json:
        if len(bodies) == 1:
            output.emit(bodies[0])
        else:
            output.emit_list([{"file": f} | body for (f, _), body in zip(found, bodies, strict=True)])
    else:
        for file, faults in found:
            for fault in faults:
                output.line(output.diagnostic(fault, file))
            if _valid(faults):
                output.line(f"{file}: valid")
    return exits.OK if all(body["valid"] for body in bodies) else exits.FAILED


@command("list", example="playhead config list")
async def list_(s: Session, limit: Limit = 100, cursor: Cursor = None) -> None:
    """List configs with their newest version."""
    async with s.open() as rt:
        items, rest = await output.gather(rt.services.configs.list, cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    output.table(
        ("NAME", "VERSION", "ACTIVE", "APPLIED", "ENTRY", "ROUTES", "STAGES"),
        [
            (
                *(c.name, c.version, "yes" if c.active else "no", output.when(c.created_at)),
                *(c.entry, ",".join(c.routes), ",".join(c.stages)),
            )
            for c in items
        ],
    )
    output.more(rest)


@command("show", example="playhead config show docs --version 2")
async def show(
    s: Session,
    name: Name,
    version: Version = None,
) -> None:
    """Print the YAML text of a config."""
    async with s.open() as rt:
        found = await rt.services.configs.get(name, version)
    if s.json:
        output.emit(found)
        return
    state = "active" if found.active else "not active"
    applied = f"applied {output.when(found.created_at)}"
    output.note(f"{found.name} version {found.version}, {state}, {applied}, {found.hash}")
    output.block(found.source.rstrip("\n"))


@command("deactivate", example="playhead config deactivate docs", changes=True)
async def deactivate(s: Session, name: Name) -> None:
    """Reject new runs of a config, and new replays into it.

    Running executions continue.
    """
    await _set_active(s, name, False)


@command("activate", example="playhead config activate docs", changes=True)
async def activate(s: Session, name: Name) -> None:
    """Allow new runs of a config, and new replays into it, again."""
    await _set_active(s, name, True)


async def _set_active(s: Session, name: str, active: bool) -> None:
    async with s.open() as rt:
        version = await rt.services.configs.set_active(name, active)
    if s.json:
        output.emit(version)
    else:
        output.line(f"{version.name} is {'active' if version.active else 'no longer active'}")


def read(file: Path) -> bytes:
    """Return the bytes of a config file.

    Raises:
        Usage: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as exc:
        raise Usage(f"cannot read {file}: {exc.strerror or exc}") from exc


def tell_applied(version: ConfigVersion, new: bool, file: str) -> None:
    """Report on stderr whether a config file got a new version."""
    what = "applied as" if new else "is the same as"
    output.note(f"{file} {what} {version.name} version {version.version}")
    for warning in version.warnings:
        output.note("  " + output.diagnostic(warning, file))
    if not version.active:
        output.note(f"  {version.name} is not active: playhead config activate {version.name}")


def _valid(faults: Sequence[Diagnostic]) -> bool:
    return not any(fault.severity == "error" for fault in faults)


async def _faults(s: Session, sources: Sequence[bytes]) -> list[Sequence[Diagnostic]]:
    """Return the faults of each config. Without a home, there is no other config to compare it with."""
    if s.server is None:
        from playhead.bootstrap import check_config, lacks_home

        if lacks_home(s.settings):
            s.tell_of_settings()
            return [check_config(s.settings, source) for source in sources]
    async with s.open(checks_configs=True) as rt:
        return [await rt.services.configs.validate(source) for source in sources]


async def _all_valid(s: Session, rt: Deployment, sources: Sequence[tuple[Path, bytes]]) -> None:
    from playhead.errors import ConfigInvalid

    for file, source in sources:
        s.file = str(file)
        faults = await rt.services.configs.validate(source)
        if not _valid(faults):
            raise ConfigInvalid(f"{file} is not a valid config; nothing was applied", faults)
