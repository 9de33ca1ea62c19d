"""`adapters`: what a route's steps can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from playhead.cli import output
from playhead.cli.command import command
from playhead.cli.session import Session

if TYPE_CHECKING:
    from playhead.ports.adapter import AdapterSpec


@command("adapters", example="playhead adapters split_markdown")
def adapters(
    s: Session,
    kind: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="Only this one, with its config.")
    ] = None,
) -> None:
    """List adapters, or show the config of one."""
    from playhead.bootstrap import load_adapters

    known = load_adapters(s.settings)
    if kind is None:
        specs = [known[name] for name in sorted(known)]
        if s.json:
            output.emit_list([_body(spec) for spec in specs])
            return
        output.table(
            ("TYPE", "VERSION", "PRODUCES", "EFFECTS", "WHAT IT DOES"),
            [(a.name, a.version, a.produces, a.effects, _summary(a)) for a in specs],
        )
        return
    if kind not in known:
        import difflib

        from playhead.errors import NotFound

        near = difflib.get_close_matches(kind, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`playhead adapters` lists those there are"
        raise NotFound("adapter_not_found", f"no adapter {kind!r} is loaded; {hint}")
    if s.json:
        output.emit(_body(known[kind]))
    else:
        _describe(known[kind])


def _body(spec: AdapterSpec) -> dict[str, Any]:
    return {
        "type": spec.name,
        "version": spec.version,
        "produces": spec.produces,
        "effects": spec.effects,
        "description": spec.doc,
        "origin": spec.origin,
        "config": _schema(spec),
    }


def _schema(spec: AdapterSpec) -> dict[str, Any] | None:
    """The JSON Schema of its config, None when it takes none."""
    model: Any = spec.config_model
    return model.model_json_schema() if model is not None else None


def _summary(spec: AdapterSpec) -> str:
    return (spec.doc or "").strip().partition("\n")[0]


def _describe(spec: AdapterSpec) -> None:
    output.line(f"{spec.name} (version {spec.version}, from {spec.origin})")
    if spec.doc:
        output.line()
        output.line(spec.doc.strip())
    output.line()
    schema = _schema(spec) or {}
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
                "required" if name in required else repr(field.get("default")),
                field.get("description"),
            )
            for name, field in fields.items()
        ],
    )


def _type(field: dict[str, Any]) -> str:
    """A field's type in a few words, with its limits."""
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field:
        return " or ".join(map(repr, field["enum"]))
    limits = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    marks = [f"{mark} {field[name]}" for name, mark in limits.items() if name in field]
    return " ".join([str(field.get("type", "any")), *marks])
