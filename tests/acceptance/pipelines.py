"""The pipelines that tests kill processes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_PIPELINE = """
version: "1.0"
name: {name}
entry: split
routes:
  split:
    inbound: {{concurrency: 2, prefetch: 4}}
    adapters: [{{type: thirds, config: {{{config}}}}}]
    outbound: {{stage: parts, to: [shout, measure]}}
  shout:
    inbound: {{concurrency: 2, prefetch: 4}}
    adapters: [{{type: shout}}]
    outbound: {{stage: loud, to: [hand_over]}}
  measure:
    inbound: {{concurrency: 2, prefetch: 4}}
    adapters: [{{type: measure}}]
    outbound: {{stage: lengths}}
  hand_over:
    external: true
"""

_BULK = """
version: "1.0"
name: bulk
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: loud}
"""

_OUTSIDE = """
version: "1.0"
name: outside
entry: hand_over
routes:
  hand_over:
    external: true
"""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A config and the inputs of its runs. `retries`: attempts that its steps themselves ask for."""

    name: str
    source: str
    entry: str
    inputs: Mapping[str, bytes]
    retries: int = 0

    @classmethod
    def of(cls, name: str, source: str, entry: str, count: int, late: int = 0) -> Pipeline:
        inputs = {f"folder{n % 3}/page{n:04d}.txt": f"the text of page {n}".encode() for n in range(count)}
        return cls(name, source, entry, inputs, late * count)


PIPELINES: Final = {
    p.name: p
    for p in (
        # Fan-out, two routes, one that others consume.
        Pipeline.of("pages", _PIPELINE.format(name="pages", config=""), "split", 30),
        # The same with another fan-out and other bytes at every attempt.
        Pipeline.of("uneven", _PIPELINE.format(name="uneven", config="uneven: true"), "split", 20),
        # The same, where the first two attempts at each input ask to be made again.
        Pipeline.of("late", _PIPELINE.format(name="late", config="late: 2"), "split", 6, 2),
        # With its sidecars more than a page of a listing, and more than two batches of an upload.
        Pipeline.of("bulk", _BULK, "shout", 520),
        # As many, for others: no reconciler dispatches again what is marked and was never published.
        Pipeline.of("outside", _OUTSIDE, "hand_over", 520),
    )
}
BULK: Final = PIPELINES["bulk"]
