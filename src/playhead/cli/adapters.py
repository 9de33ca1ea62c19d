"""`adapters`: the steps that a route can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from playhead.cli import complete, output
from playhead.cli.command import command
from playhead.cli.session import Session
from playhead.warningtext import why_whole

if TYPE_CHECKING:
    from playhead.model import AdapterInfo


@command("adapters", example="playhead adapters split_markdown")
async def adapters(
    s: Session,
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE", help="Show only this adapter, with its config.", autocompletion=complete.adapter
        ),
    ] = None,
    *,
    code: Annotated[
        bool, typer.Option("--code", help="Show what the fingerprint of the code covers.")
    ] = False,
) -> None:
    """List adapters, or show the config of one."""
    known = {info.type: info for info in await _loaded(s)}
    if kind is None:
        if s.json:
            output.emit_list(list(known.values()))
            return
        if code:
            for info in known.values():
                _describe_code(info)
            return
        output.table(
            ("TYPE", "VERSION", "CODE", "PRODUCES", "EFFECTS", "WHAT IT DOES"),
            [
                (a.type, a.version, output.code(a.code), a.produces, a.effects, _summary(a))
                for a in known.values()
            ],
        )
        return
    if kind not in known:
        import difflib

        from playhead.errors import NotFound

        near = difflib.get_close_matches(kind, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`playhead adapters` lists all"
        raise NotFound("adapter_not_found", f"no adapter {kind!r} is loaded; {hint}")
    if s.json:
        output.emit(known[kind])
    elif code:
        _describe_code(known[kind])
    else:
        _describe(known[kind])


async def _loaded(s: Session) -> list[AdapterInfo]:
    """Return the adapters of the server, or of this process; no backend is opened for that."""
    if s.server is not None:
        async with s.open() as rt:
            return await rt.services.system.adapters()
    from playhead.bootstrap import load_adapters
    from playhead.services.system import describe_adapters

    s.tell_of_settings()
    return describe_adapters(load_adapters(s.settings))


def _summary(info: AdapterInfo) -> str:
    return info.description.strip().partition("\n")[0]


def _describe(info: AdapterInfo) -> None:
    output.line(f"{info.type} (version {info.version}, from {info.origin})")
    output.line(f"code {info.code}, of {info.source}")
    if info.description:
        output.line()
        output.block(info.description.strip())
    output.line()
    schema = info.config or {}
    fields: dict[str, Any] = schema.get("properties", {})
    if not fields:
        output.line("Takes no config.")
        return
    required = schema.get("required", ())
    output.table(
        ("FIELD", "TYPE", "DEFAULT", "WHAT IT IS"),
        [
            (
                *(name, _type(field)),
                "required" if name in required else _default(field),
                field.get("description"),
            )
            for name, field in fields.items()
        ],
    )


def _describe_code(info: AdapterInfo) -> None:
    if not info.covers:
        output.line(f"{info.type}  {output.code(info.code)}")
        return
    output.line(f"{info.type}  {output.code(info.code)}  {info.source}")
    if info.whole is not None:
        output.line(f"  whole files, because {why_whole(info.type, info.whole)}")
    for one in info.covers:
        what = [*one.names, *(f"line {line}" for line in one.lines)]
        output.line(f"  {one.file}{': ' if what else ''}{', '.join(what)}")


def _default(field: dict[str, Any]) -> str:
    """The default of a field; a schema does not have one that is computed (`default_factory`)."""
    return repr(field["default"]) if "default" in field else "computed"


def _type(field: dict[str, Any]) -> str:
    """The type of a field as text, with its limits."""
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field:
        return " or ".join(map(repr, field["enum"]))
    limits = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    marks = [f"{mark} {field[name]}" for name, mark in limits.items() if name in field]
    return " ".join([str(field.get("type", "any")), *marks])
