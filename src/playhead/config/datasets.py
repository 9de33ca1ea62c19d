"""The datasets of a config."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from playhead.config import declared
from playhead.config.diagnostics import listed, shown
from playhead.config.fields import Spot, Table, check_name
from playhead.config.graph import Lane
from playhead.errors import BadRequest
from playhead.model import DatasetConfig, OnFailure

_URL: Final = re.compile(r"https?://[^\s\0]{1,1990}")


def read_datasets(
    spot: Spot | None, lanes: Mapping[str, Lane], check_webhook: Callable[[str], None]
) -> dict[str, DatasetConfig]:
    """Read `datasets`.

    Args:
        lanes: the routes.
        check_webhook: raises `BadRequest` for a URL that the operator does not allow.
    """
    if spot is None or not spot.mapping():
        return {}
    found: dict[str, DatasetConfig] = {}
    owners: dict[str, str] = {}
    for name, dataset in spot.children():
        check_name(dataset, name, "dataset")
        found[name] = _read_dataset(dataset, name, lanes, owners, check_webhook)
    return found


def _read_dataset(
    spot: Spot,
    name: str,
    lanes: Mapping[str, Lane],
    owners: dict[str, str],
    check_webhook: Callable[[str], None],
) -> DatasetConfig:
    # `docs:` without a value has all defaults.
    is_empty = spot.node.value is None
    table = declared.table(spot, declared.DATASET) if not is_empty else None
    given: dict[str, Any] = {}
    routes = table.get("routes") if table else None
    chosen = _read_routes(routes, name, lanes, owners)
    if routes is None:
        for route in chosen:
            _claim(spot, route, name, owners)
            _warn_visible(spot, route, lanes)
    for key, words in (
        ("publish", ("manual", "automatic")),
        ("on_failure", get_args(OnFailure)),
        ("runs", ("complete", "partial")),
    ):
        if (where := table.get(key) if table else None) and (word := where.choice(words)):
            given[key] = word
    if table:
        given["max_failed"] = _count_or_share(table, declared.MAX_FAILED)
        given["max_removed"] = declared.MAX_REMOVED.read(table)
        given["keep"] = declared.KEEP.read(table)
        if webhook := table.get("webhook"):
            given["webhook"] = _read_webhook(webhook, check_webhook)
    followers = tuple(route for route in chosen if lanes[route].follows)
    made = DatasetConfig(name, tuple(chosen), sinks=followers, **given)
    if made.publish == "automatic" and made.runs == "complete" and made.max_removed == 1:
        spot.fault(
            "W108",
            f"dataset {name!r} is published automatically, and a publication may remove all inputs: a run "
            "of one file would remove all others",
            "max_removed: 0.2",
            at_key=True,
        )
    return made


def _read_webhook(spot: Spot, check_webhook: Callable[[str], None]) -> str | None:
    url = spot.text()
    if url is None:
        return None
    if not _URL.fullmatch(url):  # the fault does not show it: it may contain a token
        spot.fault("E104", "a webhook is a URL of the form https://HOST/PATH, at most 2,000 characters")
        return None
    try:
        check_webhook(url)
    except BadRequest as exc:
        spot.fault("E316", exc.detail)
    return url


def _count_or_share(table: Table, key: declared.Real) -> float:
    number = key.read(table)
    where = table.get(key.name)
    if where and number >= 1 and not float(number).is_integer():
        why = f"{shown(number)} is neither a whole number nor a share below 1"
        where.fault("E104", why, str(int(number)))
        return key.otherwise
    return number


def _read_routes(
    spot: Spot | None, name: str, lanes: Mapping[str, Lane], owners: dict[str, str]
) -> list[str]:
    """Return the routes of a dataset. By default, those with a stage or a sink."""
    if spot is None:
        return [
            route
            for route, lane in lanes.items()
            if not lane.route.external and (lane.route.stage or lane.is_sink)
        ]
    found: dict[str, None] = {}
    items = spot.items("routes")
    if items == []:
        spot.fault("E104", "a dataset has at least one route")
    for item in items or ():
        route = item.text()
        if route is None:
            continue
        if route not in lanes:
            near = spot.found.nearest(route, lanes)
            item.fault("E315", f"there is no route {shown(route)}; routes: {listed(lanes)}", near)
            continue
        found[route] = None
        _claim(item, route, name, owners)
        _warn_visible(item, route, lanes)
    return list(found)


def _warn_visible(spot: Spot, route: str, lanes: Mapping[str, Lane]) -> None:
    """W107: what a route writes outside of the store does not follow publications."""
    if not lanes[route].stage and not lanes[route].follows:
        spot.fault(
            "W107",
            f"route {route!r} stores nothing in a stage, and its last adapter does not follow publications: "
            "what it writes is visible at once, and no rollback changes it",
        )


def _claim(spot: Spot, route: str, name: str, owners: dict[str, str]) -> None:
    """E315: a route belongs to at most one dataset."""
    owner = owners.setdefault(route, name)
    if owner != name:
        spot.fault("E315", f"route {route!r} already belongs to dataset {owner!r}")
