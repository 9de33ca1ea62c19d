"""`ls` and `cat`: stored objects."""

from __future__ import annotations

from typing import Annotated

import typer

from playhead.cli import complete, output
from playhead.cli.command import Cursor, ExecutionRef, Limit, command
from playhead.cli.executions import note_pruned
from playhead.cli.session import Session


@command("ls", example="playhead ls latest markdown_converted guide")
async def ls(
    s: Session,
    execution: ExecutionRef,
    stage: Annotated[
        str | None,
        typer.Argument(
            metavar="STAGE",
            help="A stage of the execution; `input` contains the inputs of the run.  [default: all stages]",
            autocompletion=complete.stage,
        ),
    ] = None,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder or an object in the stage.")] = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> None:
    """List the objects of a stage, or of all stages."""
    async with s.open() as rt:
        identity = await rt.services.resolve.execution(execution)
        items, rest = await output.gather(
            lambda c, n: rt.services.objects.list(identity, stage, path or None, c, n), cursor, limit
        )
        if not items:
            await note_pruned(rt, identity, stage)
    if s.json:
        output.emit_list(items, rest)
        return
    taken_over = any(o.taken_over_from for o in items)
    output.table(
        ("SIZE", "MODIFIED", "KEY", *["TAKEN OVER FROM"] * taken_over),
        [
            (o.size, output.when(o.modified_at), o.key, *[o.taken_over_from or "-"] * taken_over)
            for o in items
        ],
    )
    output.more(rest)


@command("cat", example="playhead cat 0198c2a4-7d10-7c3e-8f00-5a1b2c3d4e5f/markdown_converted/guide/page.md")
async def cat(
    s: Session,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The key, as `ls` prints it, or such as `latest/STAGE/PATH`.")
    ],
) -> None:
    """Write the bytes of one object to stdout.

    With --json, prints its content type and its content, as text or in base64.
    """
    async with s.open() as rt:
        key = await rt.services.resolve.key(key)
        found = await rt.services.objects.content(key)
        if not s.json:
            async for chunk in found.chunks:
                with output.stdout() as stdout:
                    stdout.buffer.write(chunk)
            return
        data = b"".join([chunk async for chunk in found.chunks])
    try:
        encoding, content = "utf-8", data.decode()
    except UnicodeDecodeError:
        import base64

        encoding, content = "base64", base64.b64encode(data).decode()
    output.emit(
        {
            "key": key,
            "content_type": found.content_type,
            "size": len(data),
            "encoding": encoding,
            "content": content,
        }
    )
