"""The document: a config read from its top to its last route, every fault noted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast, get_args

from playhead import keys
from playhead.config import declared, graph
from playhead.config.datasets import read_datasets
from playhead.config.diagnostics import listed, shown
from playhead.config.fields import NAME, QUEUE, Spot, Table, check_name
from playhead.config.graph import Lane
from playhead.config.limits import check_keys, read_rate_limit
from playhead.config.retention import read_retention
from playhead.config.steps import Adapters, read_step
from playhead.model import Config, ErrorHandling, OnReplay, RateLimit, Route, Step
from playhead.ports.adapter import AdapterSpec

_SEGMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_MAX_STAGE: Final = keys.MAX_KEY_BYTES - 38 - keys.MAX_SEGMENT_BYTES
"""A stage leaves room for the execution's id before it, and for a name after it."""

_ELSEWHERE: Final = {
    key.name: f"{parent}.{key.name}"
    for parent, inner in (
        ("inbound", declared.INBOUND),
        ("outbound", declared.OUTBOUND),
        ("error_handling", declared.ERRORS),
    )
    for key in inner
}
"""Keys that people write right under a route, and where they belong."""


def read_config(
    root: Spot,
    adapters: Adapters,
    check_webhook: Callable[[str], None],
    taken: Mapping[str, tuple[str, str]],
    previous: Config | None,
) -> Config | None:
    """Read the whole document and note every fault; the config may be used if none is an error."""
    if root.node.value is None:
        root.fault("E103", 'the config is empty; it starts with `version: "1.0"`', 'version: "1.0"')
        return None
    doc = declared.table(root, declared.CONFIG)
    if version := doc.get("version"):
        _check_version(version)
    name = doc.text("name", pattern=NAME)
    description = doc.text("description")
    entry = doc.text("entry")
    errors = _read_errors(doc.get("error_handling"), ErrorHandling())
    routes = doc.get("routes")
    lanes = _read_routes(routes, name, errors, adapters) if routes else None
    config = Config(name, entry, {n: lane.route for n, lane in (lanes or {}).items()}, description)
    retention = read_retention(doc.get("retention"), config.stages)
    config = replace(config, retention=retention)
    if not routes or lanes is None:
        return None
    config = replace(config, datasets=read_datasets(doc.get("datasets"), lanes, check_webhook))
    entry_known = entry in lanes
    if (spot := doc.get("entry")) and isinstance(spot.node.value, str) and not entry_known:
        near = spot.found.nearest(entry, lanes)
        spot.fault("E301", f"there is no route {shown(entry)}; routes: {listed(lanes)}", near)
    graph.check_targets(lanes)
    graph.check_circles(lanes)
    graph.check_stages(lanes)
    graph.check_queues(lanes, name, taken)
    check_keys(one for lane in lanes.values() for one in lane.limits)
    if entry_known:
        graph.warn_unreached(lanes, entry)
    if previous is not None and previous.name == name and not root.found.failed:
        graph.warn_dropped(config, previous, routes)
    return config


def _check_version(spot: Spot) -> None:
    if not isinstance(spot.node.value, str):
        spot.wrong("text", f'"{declared.VERSION}"')
    elif spot.node.value != declared.VERSION:
        spot.fault(
            "E104", f"{shown(spot.node.value)} is not a version of the format", f'"{declared.VERSION}"'
        )


def _read_errors(spot: Spot | None, base: ErrorHandling) -> ErrorHandling:
    """Read `error_handling`; its fields override those of `base`."""
    if spot is None:
        return base
    table = declared.table(spot, declared.ERRORS)
    return ErrorHandling(
        max_attempts=declared.MAX_ATTEMPTS.read(table, base.max_attempts),
        retry_delay_seconds=declared.RETRY_DELAY.read(table, base.retry_delay_seconds),
        backoff=declared.BACKOFF.read(table, base.backoff),
        max_delay_seconds=declared.MAX_DELAY.read(table, base.max_delay_seconds),
    )


# -- routes ----------------------------------------------------------------------------------------


def _read_routes(
    spot: Spot, config: str, errors: ErrorHandling, adapters: Adapters
) -> dict[str, Lane] | None:
    if not spot.mapping():
        return None
    if not spot.node.fields:
        spot.fault("E104", "a config has at least one route")
        return None
    lanes: dict[str, Lane] = {}
    for name, route in spot.children():
        check_name(route, name, "route")
        lanes[name] = _read_route(route, name, config, errors, adapters)
    return lanes


def _read_route(spot: Spot, name: str, config: str, base: ErrorHandling, adapters: Adapters) -> Lane:
    table = declared.table(spot, declared.ROUTE, elsewhere=_ELSEWHERE)
    external = table.flag("external", False)
    errors = _read_errors(table.get("error_handling"), base)
    steps, step_limits, specs = _read_steps(table, external, errors, adapters, f"{config}/{name}")
    batch = max((spec.batch or 1 for spec in specs), default=1)
    on_replay = _read_on_replay(table, name, specs)
    queue, concurrency, total, prefetch = _read_inbound(table.get("inbound"), batch)
    limit_spot = table.get("rate_limit")
    limit = read_rate_limit(limit_spot, f"{config}/{name}")
    outbound = table.get("outbound")
    stage, to, whole = _read_outbound(outbound)
    if external:
        for key in ("adapters", "outbound", "rate_limit"):
            if wrong := table.get(key):
                wrong.fault(
                    "E310",
                    f"route {name!r} is external: another program consumes its queue, so it must not have "
                    f"`{key}`; remove `{key}` or `external`",
                    at_key=True,
                )
    route = Route(
        name=name,
        queue=str(queue.node.value) if queue else f"{config}.{name}",
        steps=steps,
        stage=str(stage.node.value) if stage else None,
        to=tuple(target for target, _ in to),
        concurrency=concurrency,
        concurrency_total=total,
        rate_limit=limit,
        prefetch=prefetch,
        timeout_seconds=declared.TIMEOUT.read(table),
        external=external,
        errors=errors,
        description=table.text("description"),
        on_replay=on_replay,
        effects="external" if external or _with_effects(specs) else "none",
    )
    limits = [(limit, limit_spot), *step_limits] if limit and limit_spot else step_limits
    last = specs[-1] if specs and len(specs) == len(steps) else None
    return Lane(
        *(route, spot, queue, stage, to, whole and table.is_mapping, limits),
        is_sink=last is not None and last.is_sink,
        follows=last is not None and last.follows,
    )


def _read_inbound(spot: Spot | None, batch: int) -> tuple[Spot | None, int, int | None, int | None]:
    """Queue (None: the default), concurrency, the total concurrency, and prefetch.

    Args:
        batch: how many messages the largest batch of the route has.
    """
    if spot is None:
        return None, declared.CONCURRENCY.otherwise, None, None
    table = declared.table(spot, declared.INBOUND)
    queue = table.get("queue")
    if queue and queue.text(QUEUE) is None:
        queue = None
    concurrency = declared.CONCURRENCY.read(table)
    total = declared.CONCURRENCY_TOTAL.read(table) or None
    ahead = table.get("prefetch")
    if ahead is None:
        return queue, concurrency, total, None
    prefetch = ahead.integer(concurrency, declared.PREFETCH.low, declared.PREFETCH.high)
    least = concurrency * batch
    if prefetch < least:
        what = f"concurrency {concurrency}" + (f" times batch {batch}" if batch > 1 else "")
        ahead.fault(
            "W102",
            f"prefetch {prefetch} is below {what} and was raised to it: "
            "otherwise some slots would never get a message",
            str(least),
        )
    return queue, concurrency, total, max(prefetch, least)


def _read_steps(
    table: Table, external: bool, errors: ErrorHandling, adapters: Adapters, route: str
) -> tuple[tuple[Step, ...], list[tuple[RateLimit, Spot]], list[AdapterSpec]]:
    """Return the steps, their rate limits with their places, and their adapters."""
    spot = table.get("adapters")
    if spot is None:
        if not external and table.is_mapping:
            table.spot.fault(
                "E102",
                "`adapters` is missing; a route has at least one, or is `external: true`",
                "adapters: [{type: …}]",
                at_key=True,
                under="adapters",
            )
        return (), [], []
    entries = spot.items("adapters", "{{type: {}}}")
    if entries == [] and not external:
        spot.fault("E104", "a route has at least one adapter", "adapters: [{type: …}]")
    steps: list[Step] = []
    limits: list[tuple[RateLimit, Spot]] = []
    specs: list[AdapterSpec] = []
    for entry in entries or ():
        step, spec = read_step(entry, adapters, route)
        steps.append(step)
        if step.rate_limit and (where := entry.child("rate_limit")):
            limits.append((step.rate_limit, where))
        specs += [spec] if spec else []
        _warn_effects(entry, spec, errors)
        is_last = entry is entries[-1] if entries else False
        _check_returns(entry, spec, is_last=is_last, is_stored=table.get("outbound") is not None)
    return tuple(steps), limits, specs


def _read_on_replay(table: Table, route: str, specs: Sequence[AdapterSpec]) -> OnReplay | None:
    """Read `on_replay`; None if the route has none."""
    spot = table.get("on_replay")
    if spot:
        return cast("OnReplay | None", spot.choice(get_args(OnReplay)))
    if names := _with_effects(specs):
        table.spot.fault(
            "W106",
            f"adapter {names[0]!r} has external effects, and route {route!r} has no `on_replay`: a replay "
            "repeats the effects",
            "on_replay: skip",
            at_key=True,
        )
    return None


def _with_effects(specs: Sequence[AdapterSpec]) -> list[str]:
    """Return the names of the adapters that have external effects."""
    return [spec.name for spec in specs if spec.effects == "external"]


def _check_returns(entry: Spot, spec: AdapterSpec | None, *, is_last: bool, is_stored: bool) -> None:
    """E208, E312: a step whose every message would be a dead letter, as its return annotation shows."""
    if spec is None:
        return
    if spec.returns.wrong:
        entry.fault(
            "E208",
            f"adapter {spec.name!r} declares that it returns {spec.returns.wrong}; a step returns Output, "
            "str, bytes, None, or an iterable of those",
        )
    elif spec.returns.kind == "output" and is_last and not is_stored:
        entry.fault(
            "E312",
            f"adapter {spec.name!r} always returns an output, but the route has no `outbound`, so no message "
            "could be completed",
            "outbound: {stage: …}",
        )


def _warn_effects(entry: Spot, spec: AdapterSpec | None, errors: ErrorHandling) -> None:
    if spec is None or spec.effects != "external" or errors.max_attempts == 1:
        return
    entry.fault(
        "W103",
        f"adapter {spec.name!r} has external effects, and a message is tried up to "
        f"{errors.max_attempts} times: the effect may happen more than once; if a repeated call does no "
        'harm, declare effects="idempotent"',
        "error_handling: {max_attempts: 1}",
    )


def _read_outbound(spot: Spot | None) -> tuple[Spot | None, list[tuple[str, Spot]], bool]:
    """Return the stage (None if missing or invalid), the routes it feeds, and whether those are all."""
    if spot is None:
        return None, [], True
    table = declared.table(spot, declared.OUTBOUND)
    stage = table.get("stage")
    if stage and not _stage_fine(stage):
        stage = None
    targets = table.get("to")
    if targets is None:
        return stage, [], table.is_mapping
    return (stage, *_read_targets(targets))


def _read_targets(spot: Spot) -> tuple[list[tuple[str, Spot]], bool]:
    items = spot.items("routes")
    targets: dict[str, Spot] = {}
    whole = items is not None
    for item in items or ():
        target = item.text()
        if target is None:
            whole = False
        elif target in targets:
            item.fault("E309", f"route {shown(target)} is listed twice; each output would be processed twice")
        else:
            targets[target] = item
    return list(targets.items()), whole


def _stage_fine(spot: Spot) -> bool:
    stage = spot.text()
    if stage is None:
        return False
    segments = stage.split("/")
    if segments[0] == keys.INPUT_STAGE or stage.startswith("_"):
        near = f"{stage.strip('_')}" if stage.startswith("_") else f"{stage}s"
        fits = _SEGMENT.fullmatch(near.partition("/")[0]) and near.partition("/")[0] != keys.INPUT_STAGE
        spot.fault(
            "E306",
            f"stage {shown(stage)} is reserved: `{keys.INPUT_STAGE}` has the inputs of a run, "
            "and names that start with `_` belong to Playhead",
            near if fits else None,
        )
        return False
    if why := _stage_problem(stage, segments):
        near = "/".join(re.sub(r"[^A-Za-z0-9._-]+", "_", s).strip("._-") for s in segments if s)
        fine = bool(near) and _stage_problem(near, near.split("/")) is None and near != keys.INPUT_STAGE
        spot.fault("E104", f"stage {shown(stage)} {why}", near if fine else None)
        return False
    return True


def _stage_problem(stage: str, segments: list[str]) -> str | None:
    """Return why a text is not a valid stage name, as the end of a sentence."""
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            return (
                "must be segments of letters, digits, `.`, `_` and `-` that start with a letter or digit, "
                "joined by `/`"
            )
        if why := keys.segment_problem(segment):
            return why
    if len(stage) > _MAX_STAGE:
        return f"has {len(stage)} characters; at most {_MAX_STAGE} leave room for paths"
    return None
