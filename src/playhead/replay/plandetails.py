"""What a plan shows in addition to its set of objects: what would process them, and how long it may take."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from playhead.keys import content_type_of, problem
from playhead.model import PlannedRoute, PlanProblems, RatePace, ReplayRequest, Warning, Worker
from playhead.ports.catalog import Configs
from playhead.ports.catalog.configs import Loaded
from playhead.reading.codecheck import CodeCheck, other_versions
from playhead.replay import effects
from playhead.replay.expected import MOST_LOOKED_UP
from playhead.replay.manifest import Item
from playhead.replay.planned import PLANNED
from playhead.replay.request import Resolved
from playhead.replay.survey import Surveyed

_MOST_TYPES: Final = 100
_OTHER_TYPES: Final = "other"
_FIRST_KEYS: Final = 10


SHOWN: Final = PLANNED | {"pace", "selected_paths"}
"""Fields of a request that its plan shows."""


def request_fields(request: ReplayRequest, found: Resolved) -> dict[str, Any]:
    """Return the fields of a request as a plan shows them: those that were given, with resolved values."""
    given = replace(request, selection=found.selection).shown()
    fields = {name: value for name, value in given.items() if name in SHOWN}
    fields["config_version"] = found.loaded.version.version
    # Its replay inherits again what is carried on.
    fields["effects"] = {name: does for name, does in found.effects.items() if not effects.is_carried(name)}
    return fields if fields["effects"] else {name: fields[name] for name in fields if name != "effects"}


def routes_of(found: Resolved) -> list[PlannedRoute]:
    """Return the routes of the target's config, in its order."""
    config = found.loaded.config
    reached = set(effects.reached(config, found.route, found.effects))
    return [
        PlannedRoute(
            config=config.name,
            route=route.name,
            queue=route.queue,
            effects=route.effects or "unknown",
            on_replay=found.effects.get(route.name, "run"),
            reached=route.name in reached,
        )
        for route in config.routes.values()
    ]


async def config_diff(catalog: Configs, found: Resolved) -> str | None:
    """Return a diff of the YAML from the version of the source execution to the one that will run.

    None if they are equal, or if the source has no config.
    """
    source, runs = found.source, found.loaded
    if source.config is None or source.config_version is None:
        return None
    ran = await catalog.config(source.config, source.config_version)
    if ran is None:
        return None
    lines = difflib.unified_diff(
        ran.version.source.splitlines(),
        runs.version.source.splitlines(),
        _name(ran),
        _name(runs),
        lineterm="",
    )
    return "".join(f"{line}\n" for line in lines) or None


def _name(loaded: Loaded) -> str:
    return f"{loaded.version.name} version {loaded.version.version}"


async def workers_of(
    code: CodeCheck, found: Resolved, routes: Sequence[PlannedRoute]
) -> tuple[list[Worker], list[Warning]]:
    """Return the live processes that consume the routes that are reached, and warnings about them."""
    config = found.loaded.config
    reached = [config.routes[route.route] for route in routes if route.reached]
    workers = await code.consumers(reached)
    warnings = [*await code.check(config, found.route, required=False), *other_versions(workers)]
    consumed = {queue for worker in workers for queue in worker.queues}
    return workers, warnings + [
        Warning("no_consumer", route.queue)
        for route in reached
        if not route.external and route.queue not in consumed
    ]


def warnings_about(problems: PlanProblems, first_differing: str | None) -> Iterator[Warning]:
    """Yield a warning for each kind of objects that may not be processed.

    `first_differing` is the key of the first object whose bytes are not those of its record.
    """
    if problems.invalid_key:
        yield Warning("invalid_keys", count=problems.invalid_key)
    if problems.no_sidecar:
        yield Warning("no_sidecars", count=problems.no_sidecar)
    if problems.hash_differs:
        yield Warning("bytes_differ", count=problems.hash_differs, detail=first_differing or "")


def seconds_for(request: ReplayRequest, objects: int, rate: float | None) -> float | None:
    """Estimate how long publishing takes. `rate` is that of an earlier replay, in messages per second."""
    rates = [one for one in (rate, request.pace.rate if isinstance(request.pace, RatePace) else None) if one]
    return round(objects / min(rates), 3) if rates else None


class Summary:
    """Counts the objects of a plan, page by page.

    Args:
        limit: objects at most; None: all.

    Attributes:
        objects, bytes: of all pages.
        first_keys, last_key: as in a plan.
        invalid: objects whose keys break the grammar.
        over_limit: objects after the first `limit` ones.
        sample: keys of up to `MOST_LOOKED_UP` objects: every n-th one.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self.objects = 0
        self.bytes = 0
        self.first_keys: list[str] = []
        self.last_key: str | None = None
        self.invalid = 0
        self.over_limit = 0
        self.sample: list[str] = []
        self._stride = 1
        self._types = Counter[str]()

    def cut(self, page: Surveyed) -> Surveyed:
        """Return a page without the objects that are over the limit, and count these."""
        if self._limit is None:
            return page
        kept = page.objects[: max(self._limit - self.objects, 0)]
        self.over_limit += len(page.objects) - len(kept)
        return page._replace(objects=kept)

    def add(self, page: Surveyed, items: Sequence[Item]) -> None:
        """Count a page; `items` are its entries in the manifest."""
        if not items:
            return
        records = page.records
        self.sample += [key for key, _, _ in items[-self.objects % self._stride :: self._stride]]
        while len(self.sample) > MOST_LOOKED_UP:
            self.sample, self._stride = self.sample[::2], self._stride * 2
        self.objects += len(items)
        self.bytes += sum([size for _, size, _ in items])
        self.first_keys += [key for key, _, _ in items[: _FIRST_KEYS - len(self.first_keys)]]
        self.last_key = items[-1][0]
        kinds = Counter(
            [
                record.content_type if (record := records.get(key)) else content_type_of(key)
                for key, _, _ in items
            ]
        )
        for kind, count in kinds.items():
            known = kind in self._types or len(self._types) < _MOST_TYPES
            self._types[kind if known else _OTHER_TYPES] += count
        # Only other programs store objects under invalid keys.
        self.invalid += sum([_is_invalid(key) for key, _, _ in items if key not in records])

    @property
    def content_types(self) -> dict[str, int]:
        """Number of objects by content type, the most frequent first."""
        return dict(self._types.most_common())


def _is_invalid(key: str) -> bool:
    skip = key.find("/") + 1
    return problem(key[skip:], room=skip) is not None
