"""What the sinks share: the identity of a row, and which rows readers see.

In a route of a dataset, readers see what is published: see `playhead.ports.sinks`. Otherwise they see the
newest rows:

The id of a row is the key of its object, so writing a row again changes nothing. A replay creates objects
with new keys. So each row also belongs to a document, and the rows of a document are those of the newest
execution that wrote one. Execution ids are in the order of time. The order of the writes does not matter:

- A row of a newer execution removes the rows of older executions of its document, unless a publication has
  them. In a route of a dataset it removes none, because it is not published yet.
- Readers see no row of an older execution, and of the attempts at a message only the last one.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from playhead import Context, Item, Reject
from playhead.extras import install_command


class SinkConfig(BaseModel):
    """The settings that all sinks share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replace: Literal["path", "folder", "none"] = Field(
        "path",
        description="Which rows of earlier executions a row replaces: those with the same path, those in the "
        "same folder (for the parts of a document that an earlier step split), or none.",
    )


class VectorSinkConfig(SinkConfig):
    """The settings that the sinks for vectors share."""

    vector_field: str = Field("vector", min_length=1, description="Field of the item that has the vector.")
    text_field: str = Field("text", min_length=1, description="Field of the item that has the text.")


@dataclass(frozen=True, slots=True)
class Place:
    """The identity of a row.

    Attributes:
        id: the key of the object, see `row_id`.
        execution_id: the execution that writes the row.
        config, stage, document: together, the document to which the row belongs.
        path: the path of the item.
        route: the route that writes it.
        result: the attempt that writes it. Rows of other attempts are other rows.
        is_published: readers see it when it is published; it replaces no others.
    """

    id: str
    execution_id: str
    config: str
    stage: str
    document: str
    path: str
    route: str
    result: str
    is_published: bool


NEWEST: Final = """
  NOT EXISTS (SELECT 1 FROM {table} newer WHERE newer.config = {row}.config AND newer.stage = {row}.stage
    AND newer.document = {row}.document AND newer.execution_id > {row}.execution_id)
  AND NOT EXISTS (SELECT 1 FROM {table} newer WHERE newer.{key} = {row}.{key}
    AND (newer.execution_id > {row}.execution_id
      OR (newer.execution_id = {row}.execution_id AND newer.written > {row}.written)))"""
"""The condition that no newer row replaces a row. `written` grows with each row of an object."""


@dataclass(frozen=True, slots=True)
class VectorRow:
    """A row of a sink for vectors. `metadata` is a JSON object: the attributes, and the remaining fields."""

    place: Place
    text: str
    metadata: str
    vector: list[float]


def row_id(item: Item, ctx: Context) -> str:
    """Return the key of the object of an item.

    After the first step of a chain, an item is not an object. Items of several messages may then have the
    same path, such as those of `report.md` and `report.txt`, so the id also names the message.
    """
    return item.key or f"{ctx.execution_id}/{item.stage}/{item.path}#{ctx.correlation_id}"


def place_of(item: Item, ctx: Context, replace: str) -> Place:
    """Return the identity of the row for an item."""
    key = row_id(item, ctx)
    document = {
        "none": key,
        "path": item.path,
        # An item without a folder is its own document: the top level contains unrelated documents.
        "folder": item.path.rpartition("/")[0] or item.path,
    }[replace]
    return Place(
        id=key,
        execution_id=str(ctx.execution_id),
        config=ctx.config,
        stage=item.stage,
        document=document,
        path=item.path,
        route=ctx.route,
        result=ctx.result,
        is_published=ctx.dataset is not None,
    )


def vector_row(item: Item, ctx: Context, config: VectorSinkConfig) -> VectorRow:
    """Return the row for an item that is a JSON object with a vector.

    Raises:
        Reject: it is not such an object.
    """
    fields = item.json()
    if not isinstance(fields, dict):
        raise Reject("not a JSON object with a vector; put an embed_text step before this step")
    vector = as_vector(fields.pop(config.vector_field, None))
    if not vector:
        raise Reject(f"its field {config.vector_field!r} is not a list of 32-bit numbers")
    text = fields.pop(config.text_field, "")
    if not isinstance(text, str):
        raise Reject(f"its field {config.text_field!r} is not text")
    as_json(text)
    metadata = as_json({**item.attributes, **fields})
    return VectorRow(place_of(item, ctx, config.replace), text, metadata, vector)


def vector_rows(
    items: Sequence[Item], ctx: Sequence[Context], config: VectorSinkConfig
) -> list[VectorRow | Reject]:
    """Return the row for each item, or why it has none."""
    made: list[VectorRow | Reject] = []
    for item, one in zip(items, ctx, strict=True):
        try:
            made.append(vector_row(item, one, config))
        except Reject as exc:
            made.append(exc)
    return made


def need(library: str, extra: str) -> None:
    """Raise `ValueError` with the install command if a library is not installed. Does not import it."""
    if find_spec(library) is None:
        raise ValueError(f"the library {library} is not installed. Run: {install_command(extra)}")


def as_vector(value: Any) -> list[float] | None:
    """Return a list of numbers as floats; None if it is not one, or has a number above 32-bit floats."""
    if not isinstance(value, list) or any(isinstance(one, bool) for one in value):
        return None
    try:
        fits = all(map(math.isfinite, array("f", value)))
    except (TypeError, OverflowError):
        return None
    return [float(one) for one in value] if fits else None


def as_json(value: Any) -> str:
    """Return a value as JSON. Raises `Reject` for what databases reject: NaN, and half a surrogate pair."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as exc:
        raise Reject(f"not valid JSON: {exc}") from exc
    return text
