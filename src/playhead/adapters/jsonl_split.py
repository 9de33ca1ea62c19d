"""`jsonl_split`: split a JSON Lines file into its records."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from playhead import Context, Item, Output, adapter
from playhead.adapters._records import BadRecord, Record, RecordsConfig, outputs
from playhead.records import MARK, decoded


class JsonlSplitConfig(RecordsConfig):
    """The settings of `jsonl_split`."""


@adapter("jsonl_split", produces="application/json")
def jsonl_split(item: Item, config: JsonlSplitConfig, ctx: Context) -> Iterator[Output]:
    """Split a JSON Lines file into one output per record, or per batch of records.

    The bytes of a record do not change. Empty lines are skipped. The attribute `line` is the line on which
    the record, or the first record of a batch, starts. The attribute `records` is the size of a batch.
    """
    return outputs(item, _records(item.data), config, ctx.log)


def _records(data: bytes) -> Iterator[Record | BadRecord]:
    number = 0
    for line, raw in enumerate(BytesIO(data), 1):
        text = (raw.removeprefix(MARK) if line == 1 else raw).strip()
        if not text:
            continue
        number += 1
        try:
            yield Record(number, line, text, decoded(text))
        except ValueError as exc:
            yield BadRecord(line, str(exc))
