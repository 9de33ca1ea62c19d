"""Outputs of the steps that split a file into records: paths, attributes, batches and bad records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from logging import Logger
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from playhead import Item, Output, Reject
from playhead.keys import stem
from playhead.records import MISSING, lookup, path_in

_SHOWN: Final = 10
"""Bad records that a message lists."""
_JSON_LINES: Final = "application/x-ndjson"


class RecordsConfig(BaseModel):
    """The settings that these steps share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path_field: str | None = Field(
        None,
        min_length=1,
        description="Field whose value names the output; `a.b` is the field `b` of the object in `a`. "
        "Without it, the number of the record names the output.",
    )
    attributes: dict[str, str] = Field(
        default_factory=dict, description="Attributes of the output: for each name, the field to copy."
    )
    batch: int = Field(
        1, ge=1, le=100_000, description="Records per output. Above 1, an output is a JSON Lines file."
    )
    bad_records: Literal["reject", "skip"] = Field(
        "reject", description="`reject` rejects the item; `skip` logs bad records and returns the others."
    )

    @model_validator(mode="after")
    def _one_record_has_fields(self) -> RecordsConfig:
        if self.batch > 1 and (self.path_field or self.attributes):
            raise ValueError("path_field and attributes need `batch: 1`: several records have several values")
        return self


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        number: counted from 1; bad records count too.
        line: the line on which it starts, from 1.
        data: the record as JSON on one line.
        fields: the decoded record.
    """

    number: int
    line: int
    data: bytes
    fields: Any


class BadRecord(NamedTuple):
    """A record that cannot be used: the line on which it starts, and the reason."""

    line: int
    why: str


def outputs(
    item: Item, records: Iterable[Record | BadRecord], config: RecordsConfig, log: Logger
) -> Iterator[Output]:
    """Yield the outputs for the records of an item, in order.

    The number or a field of a record determines its path, and the number determines its batch. So if a bad
    record is fixed, the other outputs do not change.

    Raises:
        Reject: after the last record: a record is bad, and `bad_records` is `reject`.
    """
    bad: list[BadRecord] = []
    count = bad_count = 0
    lines: dict[str, int] = {}
    waiting: list[Record] = []
    for record in records:
        count += 1
        made: Output | BadRecord | None = None
        if isinstance(record, BadRecord):
            made = record
        elif config.batch == 1:
            made = _alone(item, record, config, lines)
        else:
            if waiting and _batch(record, config) != _batch(waiting[0], config):
                made = _together(item, waiting, config)
                waiting = []
            waiting.append(record)
        if isinstance(made, BadRecord):
            bad_count += 1
            if len(bad) < _SHOWN:
                bad.append(made)
        elif made is not None:
            yield made
    if waiting:
        yield _together(item, waiting, config)
    if bad_count:
        listed = "; ".join(f"line {one.line}: {one.why}" for one in bad)
        more = f"; and {bad_count - len(bad):,} more" if bad_count > len(bad) else ""
        summary = f"{bad_count:,} of {count:,} records cannot be used: {listed}{more}"
        if config.bad_records == "reject":
            raise Reject(summary)
        log.warning("%s: %s", item.path, summary)


def _batch(record: Record, config: RecordsConfig) -> int:
    return (record.number - 1) // config.batch + 1


def _together(item: Item, records: list[Record], config: RecordsConfig) -> Output:
    return item.derive(
        b"\n".join([*(record.data for record in records), b""]),
        path=f"{stem(item.path, item.content_type)}/{_batch(records[0], config):04d}.jsonl",
        content_type=_JSON_LINES,
        line=records[0].line,
        records=len(records),
    )


def _alone(item: Item, record: Record, config: RecordsConfig, lines: dict[str, int]) -> Output | BadRecord:
    """Return the output for one record. `lines` has the lines of the paths so far."""
    folder = stem(item.path, item.content_type)
    try:
        if config.path_field is None:
            path = f"{folder}/{record.number:04d}.json"
        else:
            path = f"{folder}/{path_in(record.fields, config.path_field)}"
            if earlier := lines.setdefault(path, record.line) - record.line:
                raise ValueError(f"its path {path!r} is the path of line {record.line + earlier}")
        attributes = {}
        for name, field in config.attributes.items():
            if (value := lookup(record.fields, field)) is not MISSING:
                # A record must not fail the item for the whole file.
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
                attributes[name] = value
    except ValueError as exc:
        return BadRecord(record.line, str(exc))
    return item.derive(record.data, path=path, **{**attributes, "line": record.line})
