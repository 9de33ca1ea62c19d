"""The content of publications, computed from lineage, objects and sidecars over HTTP alone.

It follows the definition word by word, with nested trees and full copies. It imports nothing of Playhead,
whose rules use pages and intervals.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

Tree = dict[str, Any]
"""A result: its message, whether it is good, and its objects, each with the results below it by route."""
Content = dict[str, Tree]
"""The inputs of a publication by path, each an object with the results below it by route."""
Fingerprint = str


class Http(Protocol):
    """A client of the API."""

    async def get(self, path: str, wanted: int = 200, /, **query: Any) -> Any: ...

    async def items(self, path: str, /, **query: Any) -> list[dict[str, Any]]: ...

    async def content(self, path: str, /, **query: Any) -> bytes: ...


@dataclass(frozen=True)
class Graph:
    """Which routes the objects of a stage go to, in a version of the config."""

    to: Mapping[str, Sequence[str]]
    stages: Mapping[str, str]

    def edges(self, routes: Sequence[str]) -> set[tuple[str, str]]:
        """Return stages and routes on the ways to these routes."""
        relevant = {one for one in routes if any(one in targets for targets in self.to.values())}
        while (
            more := {route for route, stage in self.stages.items() if relevant & set(self.to.get(stage, ()))}
            - relevant
        ):
            relevant |= more
        return {
            (stage, route) for stage, targets in self.to.items() for route in targets if route in relevant
        }


@dataclass
class Wanted:
    """What a client publishes.

    Attributes:
        base: a run that defines the inputs; None: the parts are layers on the current publication.
        layers: replays and runs, in the order in which they were created.
    """

    base: str | None
    layers: Sequence[str]
    on_failure: str
    skip_superseded: bool
    allow: Sequence[str]


@dataclass
class Published:
    """A publication that was computed. Runs and versions decide what may follow it."""

    content: Content
    version: int
    base_run: str | None


class Refused(Exception):
    """The definition refuses a publication. The argument is its code."""


@dataclass
class Definition:
    """Computes publications, and compares them with what the API lists.

    Attributes:
        graphs: by version of the config.
        publications: those that were computed, by number.
    """

    http: Http
    graphs: Mapping[int, Graph]
    publications: dict[int, Published] = field(default_factory=dict)
    _known: dict[str, tuple[str, str, Fingerprint]] = field(default_factory=dict)
    _sha256: dict[Fingerprint, str] = field(default_factory=dict)

    async def compute(self, current: int | None, wanted: Wanted, routes: Sequence[str]) -> Published:
        """Return what a publication has.

        Args:
            current: number of the publication that is current when it begins.
            routes: those of the dataset in the newest version of the config.

        Raises:
            Refused: it must be refused.
        """
        before = self.publications[current] if current else Published({}, 0, None)
        order = [*([wanted.base] if wanted.base else []), *wanted.layers]
        found = [await self.http.get(f"executions/{one}") for one in order]
        version = max(before.version, *(one["config_version"] for one in found))
        edges = self.graphs[version].edges(routes)
        base, last = wanted.base, before.base_run
        if base and last and base < last and "older" not in wanted.allow:  # ids are in the order of time
            raise Refused("older_results")
        parts = [
            _Part(one, shown["kind"] == "run", await self._trees(one, edges))
            for one, shown in zip(order, found, strict=True)
        ]
        content = _Draft(copy.deepcopy(before.content), parts, wanted).resolve()
        _fit(content, edges)
        versions = {before.version, *(one["config_version"] for one in found)} - {0}
        if "incomplete" not in wanted.allow and len(versions) > 1 and _is_incomplete(content, edges):
            raise Refused("publication_incomplete")
        return Published(content, version, base or last)

    async def differences(self, dataset: str, n: int, since: int | None) -> list[str]:
        """Return how the API differs from a publication that was computed, and from an earlier one."""
        found = []
        wanted = self._objects(n)
        listed = await self.http.items(f"datasets/{dataset}/objects", at=n, limit=3)
        objects = [await self.read(one["key"]) for one in listed]
        if len(objects) != len(wanted) or set(objects) != wanted:
            found.append(f"objects of {n}: {sorted(set(objects) ^ wanted)}")
        if [one[:2] for one in objects] != sorted(one[:2] for one in objects):
            found.append(f"objects of {n} are not in order")
        shown = await self.http.get(f"datasets/{dataset}/publications/{n}")
        if int(shown["digest"], 16) != self._digest(wanted):
            found.append(f"digest of {n}: {shown['digest']}")
        for path, counts in shown["counts"].items():
            if not path.startswith(":") and counts["total"] != sum(one[0] == path for one in wanted):
                found.append(f"counts of {n}: {path} has {counts}")
        if since is not None:
            found += await self._changes(dataset, since, n)
        return found

    async def _changes(self, dataset: str, since: int, until: int) -> list[str]:
        listed = await self.http.items(f"datasets/{dataset}/changes", since=since, until=until, limit=2)
        found = {(one["stage"], one["path"]): (one["change"], one["sha256"], one["was"]) for one in listed}
        before, after = ({one[:2]: one[2] for one in self._objects(n)} for n in (since, until))
        wanted: dict[tuple[str, str], tuple[str, str | None, str | None]] = {}
        for place in before.keys() | after.keys():
            was, now = (self._sha256.get(side.get(place, "")) for side in (before, after))
            if was != now:
                kind = "added" if was is None else "removed" if now is None else "changed"
                wanted[place] = kind, now, was
        differ = sorted(
            place for place in found.keys() | wanted.keys() if found.get(place) != wanted.get(place)
        )
        return [f"changes from {since} to {until}: {differ}"] * bool(differ or len(found) != len(listed))

    def _objects(self, n: int) -> set[tuple[str, str, Fingerprint]]:
        top = self.publications[n].content if n else {}
        return {one["object"] for root in top.values() for one in _below(root)}

    def _digest(self, objects: set[tuple[str, str, Fingerprint]]) -> int:
        lines = (f"{stage}/{path} {fingerprint}" for stage, path, fingerprint in objects)
        return sum(int.from_bytes(sha256(one.encode()).digest()) for one in lines) % (1 << 256)

    # -- lineage -----------------------------------------------------------------------------------

    async def _trees(self, execution: str, edges: set[tuple[str, str]]) -> dict[tuple[str, ...], Tree]:
        """Return the trees of the roots of an execution by route and object."""
        below: dict[str | None, list[Any]] = {}
        for one in await self.http.items(f"executions/{execution}/lineage"):
            below.setdefault(one["parent_correlation_id"], []).append(one)

        async def tree(one: Any) -> Tree:
            objects = []
            for key in one["output_keys"]:
                made = await self.read(key)
                children = [
                    child
                    for child in below.get(one["correlation_id"], ())
                    if child["input_key"] == key and (made[0], child["route"]) in edges
                ]
                objects.append(
                    {"object": made, "below": {child["route"]: await tree(child) for child in children}}
                )
            original = one["taken_over_from"]
            made_in = await self.http.get(f"lineage/{original}") if original else one
            return {
                "message": original or one["correlation_id"],
                "execution": made_in["execution_id"],
                "good": one["status"] in ("completed", "taken_over", "skipped")
                and one["skip_code"] != "effects_skipped",
                "cancelled": one["status"] == "cancelled",
                "objects": objects,
            }

        return {
            (root["route"], *await self.read(root["input_key"])): await tree(root)
            for root in below.get(None, ())
        }

    async def read(self, key: str) -> tuple[str, str, Fingerprint]:
        """Return stage, path and fingerprint: of the bytes, and except for inputs, of type and attributes."""
        if key not in self._known:
            _, stage, path = key.split("/", 2)
            fingerprint = data = sha256(await self.http.content("storage/objects/content", key=key))
            if stage != "input":
                sidecar = json.loads(await self.http.content("storage/objects/metadata", key=key))
                described = [sidecar["content_type"], sidecar["attributes"]]
                about = json.dumps(described, sort_keys=True, ensure_ascii=False)
                fingerprint = sha256(data.digest() + about.encode())
            self._sha256[fingerprint.hexdigest()] = data.hexdigest()
            self._known[key] = stage, path, fingerprint.hexdigest()
        return self._known[key]


# -- the resolution ----------------------------------------------------------------------------------


@dataclass
class _Part:
    execution: str
    is_run: bool
    units: dict[tuple[str, ...], Tree]


class _Draft:
    """Starts with a publication, and applies the parts one after the other."""

    def __init__(self, top: Content, parts: Sequence[_Part], wanted: Wanted) -> None:
        self._top = top
        self._parts = parts
        self._wanted = wanted

    def resolve(self) -> Content:
        """Raises `Refused`."""
        for k, part in enumerate(self._parts):
            outcomes = {self._apply(k, slot, tree) for slot, tree in part.units.items()} - {"cancelled"}
            if outcomes == {"removed"}:
                raise Refused("source_not_published")
            for code in ("source_superseded", "older_results", "units_failed"):
                if code in outcomes:
                    raise Refused(code)
            if part.execution == self._wanted.base:
                for path in self._top.keys() - {slot[2] for slot in part.units}:
                    del self._top[path]
            places = [one["object"][:2] for root in self._top.values() for one in _below(root)]
            if len(places) != len(set(places)):
                raise Refused("path_conflict")
        return self._top

    def _apply(self, k: int, slot: tuple[str, ...], tree: Tree) -> str:
        """Apply a unit, and return what happened to it."""
        route, stage, path, fingerprint = slot
        if self._parts[k].is_run:
            if self._runs_again(k, path):
                return "covered"
            there = self._top.get(path)
            if there and self._has_newer(there, k):
                return "older_results"
            is_covered = self._is_covered(k, slot)
            below = {} if is_covered else {route: self._cut(tree, k)}
            made = {
                "object": (stage, path, fingerprint),
                "below": below,
                "execution": self._parts[k].execution,
            }
            if there and there["object"] == made["object"]:
                made["execution"] = there["execution"]
            return self._put(self._top, path, made, is_covered or self._is_good(tree, k))
        if tree["cancelled"]:
            return "cancelled"
        if self._is_covered(k, slot):
            return "covered"
        found = [one for root in self._top.values() for one in _below(root) if one["object"][:2] == slot[1:3]]
        if not found:
            return "removed"
        [source] = found
        if source["object"][2] != fingerprint:
            return "superseded" if self._wanted.skip_superseded else "source_superseded"
        earlier = source["below"].get(route)
        if earlier and earlier["message"] > tree["message"] and "older" not in self._wanted.allow:
            return "older_results"
        return self._put(source["below"], route, self._cut(tree, k), self._is_good(tree, k))

    def _has_newer(self, top: Tree, k: int) -> bool:
        """Whether an input or a result below it is of an execution that began after part `k`.

        Those of later parts do not count. Ids are in the order of time.
        """
        found = {
            top["execution"],
            *(one["execution"] for made in _below(top) for one in made["below"].values()),
        }
        newer = max(found - {part.execution for part in self._parts[k:]}, default="")
        return newer > self._parts[k].execution and "older" not in self._wanted.allow

    def _put(self, there: Content, name: str, unit: Tree, is_good: bool) -> str:
        if is_good:
            there[name] = unit
        elif self._wanted.on_failure == "leave_out":
            there.pop(name, None)
        elif self._wanted.on_failure == "refuse":
            return "units_failed"
        return "applied"

    def _is_good(self, tree: Tree, k: int) -> bool:
        """Whether each message of a unit has a result, or a later replay has one for it."""
        return tree["good"] and all(
            self._is_covered(k, (route, *one["object"])) or self._is_good(below, k)
            for one in tree["objects"]
            for route, below in one["below"].items()
        )

    def _is_covered(self, k: int, slot: tuple[str, ...]) -> bool:
        """Whether a later replay has a good unit at a slot."""
        later = ((j, one) for j, one in enumerate(self._parts) if j > k and not one.is_run)
        found = ((j, one.units[slot]) for j, one in later if slot in one.units)
        return any(not tree["cancelled"] and self._is_good(tree, j) for j, tree in found)

    def _runs_again(self, k: int, path: str) -> bool:
        """Whether a later run has a good unit for an input."""
        return any(
            self._is_covered(j, slot) or self._is_good(tree, j)
            for j, part in enumerate(self._parts)
            if j > k and part.is_run
            for slot, tree in part.units.items()
            if slot[2] == path and not tree["cancelled"]
        )

    def _cut(self, tree: Tree, k: int) -> Tree:
        """Return a copy without what later replays have."""
        objects = [
            {
                "object": one["object"],
                "below": {
                    route: self._cut(below, k)
                    for route, below in one["below"].items()
                    if not self._is_covered(k, (route, *one["object"]))
                },
            }
            for one in tree["objects"]
        ]
        return {**tree, "objects": objects}


def _fit(content: Content, edges: set[tuple[str, str]]) -> None:
    """Remove results of routes that a version does not have, or reaches from another stage."""
    for root in content.values():
        for one in _below(root):
            one["below"] = {
                route: below for route, below in one["below"].items() if (one["object"][0], route) in edges
            }


def _is_incomplete(content: Content, edges: set[tuple[str, str]]) -> bool:
    return any(
        stage == one["object"][0] and route not in one["below"]
        for root in content.values()
        for one in _below(root)
        for stage, route in edges
    )


def _below(one: Tree) -> list[Tree]:
    """Return an object and all below it."""
    found = [one]
    for below in one["below"].values():
        for made in below["objects"]:
            found += _below(made)
    return found
