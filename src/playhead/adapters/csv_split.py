"""`csv_split`: split a CSV file into its records."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from io import BytesIO

from pydantic import Field, field_validator

from playhead import Context, Item, Output, Reject, adapter
from playhead.adapters._records import BadRecord, Record, RecordsConfig, outputs


class CsvSplitConfig(RecordsConfig):
    """The settings of `csv_split`."""

    columns: list[str] | None = Field(
        None, min_length=1, description="Names of the columns, for a file without a header."
    )
    delimiter: str = Field(",", description="The character between two fields.")
    encoding: str = Field("utf-8", description="The encoding of the file, such as `latin-1`.")

    @field_validator("delimiter")
    @classmethod
    def _is_a_delimiter(cls, value: str) -> str:
        if len(value) != 1 or value in '\r\n" ':
            raise ValueError('it must be one character: `,`, `;`, `|` or a tab ("\\t")')
        return value

    @field_validator("encoding")
    @classmethod
    def _has_lines(cls, value: str) -> str:
        try:
            is_usable = '\n,"'.encode(value) == b'\n,"'
        except (LookupError, ValueError):
            is_usable = False
        if not is_usable:
            raise ValueError("it must be an encoding that contains ASCII, such as utf-8, latin-1 or cp1252")
        return codecs.lookup(value).name

    @field_validator("columns")
    @classmethod
    def _differ(cls, value: list[str] | None) -> list[str] | None:
        if value and (why := _header_problem(value)):
            raise ValueError(why)
        return value


@adapter("csv_split", produces="application/json")
def csv_split(item: Item, config: CsvSplitConfig, ctx: Context) -> Iterator[Output]:
    """Split a CSV file into one output per record, or per batch of records.

    A record becomes a JSON object: the names are those of the header, and all values are text. Empty lines
    are skipped. The attribute `line` is the line on which the record, or the first record of a batch, starts.
    The attribute `records` is the size of a batch.
    """
    return outputs(item, _records(item.data, config), config, ctx.log)


def _records(data: bytes, config: CsvSplitConfig) -> Iterator[Record | BadRecord]:
    # The limit of the module is for the whole process, and lower than the size of some texts.
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    raw = data.removeprefix(codecs.BOM_UTF8) if config.encoding == "utf-8" else data
    # A line that cannot be decoded may be inside a record. So the record is checked when it is complete.
    lines = (line.decode(config.encoding, "surrogateescape") for line in BytesIO(raw))
    rows = csv.reader(lines, delimiter=config.delimiter, strict=True)
    columns = config.columns
    number = 0
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
            "".join(row).encode()
        except StopIteration:
            return
        except UnicodeEncodeError:
            why = f"not {config.encoding}"
        except csv.Error as exc:
            why = f"not CSV: {exc}"
        else:
            if not row:
                continue
            if columns is None:
                if found := _header_problem(row):
                    raise Reject(f"line {line}, the header: {found}")
                columns = row
                continue
            number += 1
            if len(row) == len(columns):
                fields = dict(zip(columns, row, strict=True))
                yield Record(number, line, json.dumps(fields, ensure_ascii=False).encode(), fields)
            else:
                yield BadRecord(line, f"it has {len(row)} fields, and the file has {len(columns)} columns")
            continue
        if columns is None:
            raise Reject(f"line {line}, the header: {why}")
        number += 1
        yield BadRecord(line, why)


def _header_problem(columns: list[str]) -> str | None:
    if "" in columns:
        return f"column {columns.index('') + 1} has no name"
    if again := next((name for n, name in enumerate(columns) if name in columns[:n]), None):
        return f"two columns have the name {again!r}"
    return None
