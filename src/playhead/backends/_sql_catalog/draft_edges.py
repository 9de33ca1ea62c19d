"""Which stages feed which routes in a draft, also stages of other configs whose objects are inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from playhead.model import Config, DatasetConfig

Edge = tuple[str, str]
"""A stage, and a route that receives its objects."""


def edges_of(
    declared: DatasetConfig,
    version: int,
    configs: Mapping[int, Config],
    of_base: Edge | None,
    added: Sequence[Edge],
    before: tuple[int, Sequence[Edge]] | None,
    *,
    has_base: bool,
) -> tuple[list[Edge], bool]:
    """Return the edges of a draft, and `Draft.has_other_edges`.

    Args:
        version: config version of the draft, one of `configs`.
        of_base: the stage of another config whose objects are the inputs, if a replay defines them.
        added: the same of the replays that add inputs.
        before: config version and edges of the publication on which it is prepared.
        has_base: it has a base, which replaces all inputs.
    """
    kept: list[Edge] = []
    if before:
        kept = [edge for edge in before[1] if not configs[before[0]].feeds(*edge)]
    received = [*([of_base] if of_base else []), *added, *([] if has_base else kept)]
    shapes = {
        number: replace(of, datasets={declared.name: declared}).edges(declared.name, dict.fromkeys(received))
        for number, of in configs.items()
    }
    edges = shapes[version]
    others = [*shapes.values(), *([before[1]] if before else [])]
    has_others = any(set(one) != set(edges) for one in others)
    # The inputs that a base replaces may be in other stages than its own.
    return edges, has_others or (has_base and any(edge != of_base for edge in kept))
