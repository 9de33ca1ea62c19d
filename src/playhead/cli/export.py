"""`export`: copy the objects of an execution to plain files."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from playhead import keys
from playhead.cli import output, progress
from playhead.cli.command import ExecutionRef, command
from playhead.cli.executions import note_pruned
from playhead.cli.session import Session, Usage
from playhead.errors import NotFound

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment

_AT_ONCE: Final = 16
"""Objects that are read side by side."""


@command("export", example="playhead export latest exported")
async def export(
    s: Session,
    execution: ExecutionRef,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write to; it must be missing or empty.")
    ],
) -> None:
    """Copy the objects of an execution to plain files.

    An object becomes the file DIR/STAGE/PATH, and its sidecar the file DIR/STAGE/PATH.meta.json. Objects of
    other programs may have no sidecar. If the command is interrupted, delete the folder and repeat it.
    """
    _check_free(folder)
    objects = size = left_out = 0
    async with s.open() as rt:
        identity = await rt.services.resolve.execution(execution)
        with progress.display() as shown:
            cursor: str | None = None
            while True:
                page = await rt.services.objects.list(identity, None, None, cursor, output.MAX_PAGE)
                # Other programs may have stored objects whose keys are no paths of files.
                found = [one.key for one in page.items if keys.parse_key(one.key)]
                left_out += len(page.items) - len(found)
                for at in range(0, len(found), _AT_ONCE):
                    sizes = await asyncio.gather(
                        *(_copy(rt, key, folder) for key in found[at : at + _AT_ONCE])
                    )
                    copied = [one for one in sizes if one is not None]
                    left_out += len(sizes) - len(copied)
                    objects, size = objects + len(copied), size + sum(copied)
                    shown.exporting(objects)
                cursor = page.next_cursor
                if cursor is None:
                    break
        if not objects:
            await note_pruned(rt, identity)
    if left_out:
        output.note(
            f"Left out {output.counted(left_out, 'object')}: the key is invalid, or another object needs the "
            f"same name as a file or a folder. To read them: playhead ls {identity}, and playhead cat KEY"
        )
    if s.json:
        output.emit(
            {"execution_id": identity, "folder": str(folder.resolve()), "objects": objects, "bytes": size}
        )
    else:
        count = output.counted(objects, "object")
        output.line(f"wrote {count} ({output.size(size)}) and their sidecars to {folder}")


async def _copy(rt: Deployment, key: str, folder: Path) -> int | None:
    """Write an object and its sidecar; return the bytes of the object, None if another one is in the way."""
    rest = key.partition("/")[2]
    try:
        sidecar: bytes | None = await rt.services.objects.metadata(key)
    except NotFound:
        sidecar = None
    found = await rt.services.objects.content(key)
    size = 0
    try:
        async with aclosing(found.chunks) as chunks:
            with _created(folder, rest) as file:
                async for chunk in chunks:
                    size += file.write(chunk)
        if sidecar is not None:
            with _created(folder, keys.sidecar_key(rest)) as file:
                file.write(sidecar)
    except (FileExistsError, NotADirectoryError):
        return None
    except OSError as exc:
        raise Usage(f"cannot write {folder / rest}: {exc.strerror}; choose another folder") from exc
    return size


def _created(folder: Path, rest: str) -> BinaryIO:
    path = folder / rest
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _check_free(folder: Path) -> None:
    try:
        if any(folder.iterdir()):
            raise Usage(f"{folder} is not empty, so nothing was written; choose another folder")
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise Usage(f"cannot write to {folder}: {exc.strerror}; choose another folder") from exc
