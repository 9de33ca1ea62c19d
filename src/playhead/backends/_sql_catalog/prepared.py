"""What a draft will be, before it is inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from playhead.backends._sql_catalog.candidates import Candidate
from playhead.backends.sql.session import Row
from playhead.model import DatasetConfig, PartRole, PublishRequest


class Prepared(NamedTuple):
    """Its request, its parts with their roles, its config version, and its edges."""

    request: PublishRequest
    parts: Sequence[tuple[Candidate, PartRole]]
    config_version: int
    edges: Sequence[tuple[str, str]]
    has_other_edges: bool
    base: int
    base_run: int | None
    seq: int
    declared: DatasetConfig


def nothing(row: Row, parts: Sequence[Candidate], request: PublishRequest) -> Prepared:
    """Return what is recorded of a draft that is refused before it begins. `row` is that of the dataset."""
    _, _, name, seq, current, *_ = row
    return Prepared(
        request=request,
        parts=[(one, "base" if one.is_run else "layer") for one in parts],
        config_version=parts[0].config_version,
        edges=[],
        has_other_edges=False,
        base=current or 0,
        base_run=None,
        seq=seq,
        declared=DatasetConfig(name, ()),
    )
