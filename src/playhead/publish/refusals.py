"""Reasons not to publish what a draft contains, each with the command that solves the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from playhead.errors import Conflict
from playhead.ports.catalog.drafts import Draft, DraftPart, Edge
from playhead.ports.catalog.entries import Entry
from playhead.ports.catalog.publications import Place


def check_part(draft: Draft, part: DraftPart, count: Mapping[str, int], first: Mapping[str, str]) -> None:
    """Raise `Conflict` if some units of a part must not be left out.

    Args:
        count: units of the part by what happened to them; `first` has the path of one of each.
    """
    every, what = sum(count.values()), f"{'run' if part.is_run else 'replay'} {part.id}"
    if every and count["removed"] == every:
        solution = (
            f"To add its objects to the inputs: --add {part.id}. To replace the inputs by them: --base "
            f"{part.id}"
            if part.is_foreign
            else f"Publish that first, or both: playhead publish {draft.name} {part.source} {part.id}"
        )
        raise Conflict(
            "source_not_published",
            f"no object of {what} is published: its source is execution {part.source}. {solution}",
        )
    if count["superseded"] and not draft.request.skip_superseded:
        others = every - count["superseded"] - count["removed"]
        raise Conflict(
            "source_superseded",
            f"{count['superseded']:,} of {every:,} objects of {what} are not published: their documents "
            f"have changed since, first {first['superseded']}. To publish the other "
            f"{others:,}: --skip-superseded. To process what is published: playhead "
            f"replay current:{draft.name} {part.stage} {part.route}",
        )
    if count["older"]:
        raise Conflict(
            "older_results",
            f"newer results are published for {count['older']:,} of {every:,} objects of {what}, first "
            f"{first['older']}. To publish it all the same: --allow-older",
        )
    if (failed := count["kept"] + count["left_out"]) and draft.on_failure == "refuse":
        raise Conflict(
            "units_failed",
            f"{failed:,} of {every:,} documents failed, first {first.get('kept') or first['left_out']}, and "
            f"on_failure is refuse. List: playhead publications notes {draft.name}@{draft.n}",
        )


def check_failed(draft: Draft, count: Mapping[str, int]) -> None:
    """Raise `Conflict` if too many units failed for an automatic publication."""
    failed, every, most = count["kept"] + count["left_out"], sum(count.values()), draft.max_failed
    if most is not None and failed > (most * every if most < 1 else most):
        raise Conflict(
            "units_failed",
            f"{failed:,} of {every:,} documents failed, and max_failed is {most:g}. To publish the "
            f"others: playhead publish {draft.name} {draft.parts[0].id}",
        )


def path_conflict(place: Place, entries: Sequence[Entry]) -> Conflict:
    """Return the refusal for two results with the same path."""
    sources = sorted(one.slot.path if one.slot else "an input" for one in entries)
    return Conflict(
        "path_conflict", f"{place.stage}/{place.path} comes from two results: {' and '.join(sources)}"
    )


def check_complete(draft: Draft, missing: Mapping[Edge, int], every: Mapping[Edge, int]) -> None:
    """Raise `Conflict` if objects have no result in a route that the config version requires."""
    for (stage, route), count in missing.items():
        if count:
            raise Conflict(
                "publication_incomplete",
                f"{count:,} of {every[Edge(stage, route)]:,} objects of {stage} have no result in the route "
                f"{route}. Run: playhead replay current:{draft.name} {stage} {route}",
            )


def check_size(draft: Draft, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Raise `Conflict` if too many inputs would be removed, or if the publication would be empty.

    Args:
        counts: see `Resolved`.
    """
    allow = draft.request.allow
    base = next((part for part in draft.parts if part.role == "base"), None)
    inputs = draft.counts.get(base.stage, 0) if base else 0
    removed = counts[base.stage]["removed"] if base and base.stage in counts else 0
    if base and inputs and removed / inputs > draft.max_removed and "removed" not in allow:
        raise Conflict(
            "publication_shrinks",
            f"{removed:,} of {inputs:,} inputs would be removed. If {base.id} only adds inputs: --add "
            f"{base.id}. If it is right: --allow-removed",
        )
    if not sum(one["total"] for one in counts.values()) and "empty" not in allow:
        raise Conflict(
            "publication_empty",
            f"the publication would have no objects. If it is right: --allow-empty. To see why, run: "
            f"playhead publications notes {draft.name}@{draft.n}",
        )
