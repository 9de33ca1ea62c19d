"""`parquet_sink`: store items as rows of a Parquet dataset, a folder of files.

A Parquet file cannot be changed, only replaced. So there is one small file for each document, and its name is
a hash of the document. A write replaces the file of its document, so readers see its old or its new rows.

In a route of a dataset, there is a folder for each publication instead, and `current` returns the one that
readers see: see `_parquet_versions.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from playhead import Context, Item, Reject, Retry, adapter
from playhead.adapters._data_folder import data_place, path_problem
from playhead.adapters._parquet_file import locked, write_table
from playhead.adapters._parquet_versions import RESULT, Versions
from playhead.adapters._sink import Place, SinkConfig, as_json, as_vector, need, place_of
from playhead.errors import BadRequest
from playhead.ports.sinks import Shown, SinkContext, StagePage

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "integer", "number", "boolean", "vector", "json"]

_EXTRA: Final = "parquet"
_BATCH: Final = 100
_OWN: Final = ("id", "execution_id", "config", "stage", "path", "attributes")
_HIDDEN: Final = (*_OWN, RESULT)


class ParquetSinkConfig(SinkConfig):
    """The settings of `parquet_sink`."""

    path: str = Field(description="The name of the dataset, a folder in the data folder of the home: rows.")
    columns: dict[str, Kind] = Field(
        default_factory=dict,
        description="Columns for fields of a JSON object, each with its type: `text`, `integer`, `number`, "
        "`boolean`, `vector` (a list of 32-bit floats) or `json` (any value, as text). Without columns, the "
        "column `text` has the text of the item.",
    )
    buckets: int = Field(
        64,
        ge=1,
        le=1_000,
        description="In a route of a dataset: the number of files in which a publication has its rows. A "
        "publication writes the files again in which rows differ, and shares the others with the one before.",
    )

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if why := path_problem(path, "a folder, like rows"):
            raise ValueError(why)
        return path

    @field_validator("columns")
    @classmethod
    def _differ(cls, columns: dict[str, Kind]) -> dict[str, Kind]:
        if taken := [name for name in columns if name in _HIDDEN]:
            raise ValueError(f"every row has a column {taken[0]!r} already; name the field differently")
        return columns

    @model_validator(mode="after")
    def _is_installed(self) -> ParquetSinkConfig:
        need("pyarrow", _EXTRA)
        return self


@adapter("parquet_sink", thread_safe=True, batch=_BATCH, sink=True)
class ParquetSink:
    """Store an item as a row of a Parquet dataset. The step has no output.

    Each row has the columns `id` (the key of the object), `execution_id`, `config`, `stage`, `path` and
    `attributes` (as JSON). Any number of threads and processes may write to one dataset. In a route of a
    dataset of the config, readers see the rows when they are published.
    """

    def __init__(self, config: ParquetSinkConfig) -> None:
        self._config = config
        self._opened: dict[Path, Versions] = {}

    def __call__(self, items: Sequence[Item], ctx: Sequence[Context]) -> list[Reject | None]:
        try:
            folder = self._folder(ctx[0].data_dir)
        except BadRequest as exc:
            raise Reject(exc.detail) from exc
        results: list[Reject | None] = []
        files: dict[str, list[dict[str, Any]]] = {}
        staged: list[dict[str, Any]] = []
        for item, one in zip(items, ctx, strict=True):
            place = place_of(item, one, self._config.replace)
            try:
                values = _values(item, self._config.columns)
            except Reject as exc:
                results.append(exc)
                continue
            results.append(None)
            row = {
                "id": place.id,
                "execution_id": place.execution_id,
                "config": place.config,
                "stage": place.stage,
                "path": place.path,
                "attributes": json.dumps(item.attributes, ensure_ascii=False),
                **values,
            }
            if place.is_published:
                staged.append({**row, RESULT: place.result})
            else:
                files.setdefault(_file_name(place), []).append(row)
        schema = _schema(self._config.columns)
        try:
            for name, rows in files.items():
                _write(folder, name, rows, schema)
            if staged:
                self._versions(folder).add(staged)
        except (OSError, sqlite3.Error) as exc:  # such as a full disk: halves of the items would fail as well
            raise Retry(f"the dataset {self._config.path} cannot be written: {exc}") from exc
        return results

    def stage(self, page: StagePage, ctx: SinkContext) -> list[str]:
        return self._of(ctx).stage(page, ctx)

    def switch(self, n: int, seq: int, ctx: SinkContext) -> None:
        self._of(ctx).switch(n, seq, ctx)

    def forget(
        self, dropped: Sequence[range], upto: int, executions: Sequence[UUID], ctx: SinkContext
    ) -> None:
        self._of(ctx).forget(dropped, upto, executions, ctx)

    def shown(self, ctx: SinkContext) -> Shown | None:
        return self._of(ctx).shown(ctx)

    def results(self, n: int, after: str, limit: int, ctx: SinkContext) -> list[str]:
        return self._of(ctx).results(n, after, limit, ctx)

    def _of(self, ctx: SinkContext) -> Versions:
        return self._versions(self._folder(ctx.data_dir))

    def _folder(self, data_dir: str) -> Path:
        return data_place(data_dir, self._config.path, "dataset", "folder")

    def _versions(self, folder: Path) -> Versions:
        import pyarrow as pa

        if folder not in self._opened:
            schema = _schema(self._config.columns).append(pa.field(RESULT, pa.string(), nullable=False))
            self._opened[folder] = Versions(folder, schema, self._config.buckets)
        return self._opened[folder]


def current(folder: str | Path, route: str | None = None) -> Path:
    """Return the folder with the rows that readers see: of the publication that is shown, if there is one.

    Call it once, and read all files from the folder that it returns: a later call may return another one. The
    folder stays until its publication is dropped.

    Args:
        folder: `path` of the step, in the data folder.
        route: name of the route, or `CONFIG.ROUTE`; needed only if several routes publish rows there.

    Raises:
        BadRequest: `route_ambiguous`: several routes publish rows there.
    """
    links = {link.parent.name: link for link in sorted(Path(folder).glob(".published/*/current"))}
    if route is not None:
        links = {name: link for name, link in links.items() if route in (name, name.partition(".")[2])}
    if len(links) > 1:
        raise BadRequest(
            "route_ambiguous", f"several routes publish rows in {folder}; name one: {', '.join(links)}"
        )
    # Read once: the link may be replaced at any time.
    return next((link.parent / os.readlink(link) for link in links.values()), Path(folder))


def _values(item: Item, columns: dict[str, Kind]) -> dict[str, Any]:
    if not columns:
        return {"text": item.text}
    fields = item.json()
    if not isinstance(fields, dict):
        raise Reject("not a JSON object, and the step has columns")
    return {name: _value(name, fields.get(name), kind) for name, kind in columns.items()}


def _value(name: str, value: Any, kind: Kind) -> Any:
    if kind == "json":
        return as_json(value)
    if value is None:
        return None
    converted: Any = None
    if kind == "vector":
        converted = as_vector(value)
    elif kind == "text" and isinstance(value, str):
        as_json(value)
        converted = value
    elif isinstance(value, bool):
        converted = value if kind == "boolean" else None
    elif kind == "integer" and isinstance(value, int) and -(2**63) <= value < 2**63:
        converted = value
    elif kind == "number" and isinstance(value, int | float):
        with suppress(OverflowError):
            converted = float(value)
    if converted is None:
        raise Reject(f"its field {name!r} is not of the type of its column: {kind}")
    return converted


def _schema(columns: dict[str, Kind]) -> pa.Schema:
    import pyarrow as pa

    kinds = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "vector": pa.list_(pa.float32()),
        "json": pa.string(),
    }
    own = [pa.field(name, pa.string(), nullable=False) for name in _OWN]
    more = columns or {"text": "text"}
    return pa.schema([*own, *(pa.field(name, kinds[kind]) for name, kind in more.items())])


def _file_name(place: Place) -> str:
    scope = json.dumps([place.config, place.stage, place.document])
    return hashlib.sha256(scope.encode()).hexdigest()[:32]


def _write(dataset: Path, name: str, new: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Add rows to the file of their document, or replace them there. The newest execution remains."""
    import pyarrow as pa
    from pyarrow import parquet

    folder = dataset / name[:2]
    file = folder / f"{name[2:]}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    # Readers skip names that begin with `.` or `_`.
    with locked(folder / ".lock"):
        earlier = parquet.ParquetFile(file).read().to_pylist() if file.exists() else []
        newest = max(row["execution_id"] for row in (*earlier, *new))
        rows = {row["id"]: row for row in (*earlier, *new) if row["execution_id"] == newest}
        written = folder / f".{file.name}.new"
        write_table(pa.Table.from_pylist(sorted(rows.values(), key=_path_of), schema), written)
        os.replace(written, file)


def _path_of(row: dict[str, Any]) -> str:
    return str(row["path"])
