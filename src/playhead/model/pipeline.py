"""A pipeline as its config declares it, and the versions of that config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from playhead.model.datasets import DatasetConfig, relevant_routes
from playhead.model.replays import OnReplay
from playhead.model.retention import Retention

Operator = Literal["equals", "not_equals", "in", "not_in", "matches", "exists", "gt", "gte", "lt", "lte"]

Isolation = Literal["thread", "process"]

RouteEffects = Literal["external", "none"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether a step processes an item. By `otherwise`, other items skip the step or are dropped."""

    field: str
    operator: Operator
    value: Any = None
    otherwise: Literal["pass", "drop"] = "pass"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many calls may begin in a period, over all workers. Calls are evenly spread over the period.

    Attributes:
        calls: calls per period.
        seconds: the period.
        key: all limits with one key share their calls.
        burst: how many calls may begin at once when none was made for some time.
    """

    calls: int
    seconds: float
    key: str
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One adapter of a route, with its settings from the config.

    Attributes:
        isolation: `process`: the adapter runs in a child process, which a time-out ends.
    """

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    condition: Condition | None = None
    rate_limit: RateLimit | None = None
    isolation: Isolation = "thread"


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    """When a failed message is retried. A message that fails its last attempt becomes a dead letter."""

    max_attempts: int = 5
    retry_delay_seconds: float = 2
    backoff: float = 2.0
    max_delay_seconds: float = 300

    def delay(self, spent: int) -> float:
        """Return the seconds to wait after `spent` attempts (1 after the first)."""
        # A float overflows above 10**308; the maximum delay is far below that.
        return min(
            self.retry_delay_seconds * self.backoff ** min(max(spent - 1, 0), 300), self.max_delay_seconds
        )


@dataclass(frozen=True, slots=True)
class Route:
    """A processing path: an inbound queue, a chain of steps, a stage for the outputs, the routes it feeds.

    Attributes:
        concurrency: messages that each worker process handles at once.
        concurrency_total: messages that all worker processes together handle at once; None: no limit.
        rate_limit: how many attempts may begin in a period; None: no limit.
        prefetch: messages that each worker process fetches ahead; None: what its slots run in 0.4 s.
        timeout_seconds: for the whole chain, for one message.
        external: other programs consume the queue; the route has no steps and no stage.
        stage: None: the outputs are not stored.
        on_replay: what a replay does with messages of this route; None: not declared, which means `run`.
        effects: `external` if other programs consume the queue, or if an adapter declared external effects
            when the config was applied; None: not known.
    """

    name: str
    queue: str
    steps: tuple[Step, ...] = ()
    stage: str | None = None
    to: tuple[str, ...] = ()
    concurrency: int = 4
    concurrency_total: int | None = None
    rate_limit: RateLimit | None = None
    prefetch: int | None = None
    timeout_seconds: float = 300
    external: bool = False
    errors: ErrorHandling = ErrorHandling()
    description: str = ""
    on_replay: OnReplay | None = None
    effects: RouteEffects | None = None

    def most_running(self, batch: int) -> int | None:
        """Return how many messages of its queue all workers may run at once, if `batch` share a call."""
        return self.concurrency_total and self.concurrency_total * batch

    def cooldown_key(self, config: str) -> str:
        """Return the key of the cooldowns of steps without a rate limit."""
        return self.rate_limit.key if self.rate_limit else f"{config}/{self.name}"

    def cooldown_keys(self, config: str) -> set[str]:
        """Return the keys whose cooldowns stop this route of a config."""
        return {self.cooldown_key(config)} | {step.rate_limit.key for step in self.steps if step.rate_limit}

    def has_outputs_of(self, other: Route) -> bool:
        """Whether this declaration stores the same outputs for the same items as another one."""
        return self.outputs_digest == other.outputs_digest

    @property
    def outputs_digest(self) -> str:
        """SHA-256 of what decides which outputs are stored for an item.

        Queues, limits, retries, isolation and the routes that follow change no outputs. If other programs
        consume the queue, it has to be the same queue. Of the JSON, because `True == 1` in Python.
        """
        steps = [(step["type"], step["config"], step["condition"]) for step in asdict(self)["steps"]]
        decides = json.dumps([self.external and self.queue, self.stage, steps], sort_keys=True)
        return hashlib.sha256(decides.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def is_limited(self) -> bool:
        """Whether messages wait for a limit that all workers share."""
        steps = any(step.rate_limit for step in self.steps)
        return steps or self.rate_limit is not None or self.concurrency_total is not None


@dataclass(frozen=True, slots=True)
class Config:
    """A pipeline as declared."""

    name: str
    entry: str
    routes: Mapping[str, Route]
    description: str = ""
    retention: Retention | None = None
    datasets: Mapping[str, DatasetConfig] = field(default_factory=dict)

    def dataset_of(self, route: str) -> str | None:
        """Return the dataset to which a route belongs."""
        return next((name for name, one in self.datasets.items() if route in one.routes), None)

    def followed_by(self, route: str) -> str | None:
        """Return the dataset that the sink of a route follows; None: it has no sink that follows one."""
        return next((name for name, one in self.datasets.items() if route in one.sinks), None)

    def datasets_with(self, route: str) -> list[str]:
        """Return the datasets whose content a route changes: its own results, or those of routes below it."""
        found = {name: self.edges(name, [("", route)]) for name in self.datasets}
        return [name for name, edges in found.items() if any(route == target for _, target in edges)]

    def edges(self, dataset: str, received: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """Return which stages feed which routes of a dataset, and of the ways from the entry to them.

        Args:
            received: stages of other configs, each with the route that has received its objects as inputs.
        """
        declared = self.datasets.get(dataset)
        feeds = {route.name: route.to for route in self.routes.values()}
        relevant = relevant_routes(self.entry, feeds, declared.routes if declared else ())
        found = [("input", self.entry)] if self.entry in relevant else []
        found += [edge for edge in received if edge[1] in relevant]
        for route in self.routes.values():
            if route.name in relevant and route.stage:
                found += [(route.stage, target) for target in route.to if target in relevant]
        return found

    def feeds(self, stage: str, route: str) -> bool:
        """Return whether a route receives the objects of a stage of this config, or the inputs."""
        if (stage, route) == ("input", self.entry):
            return True
        return any(one.stage == stage and route in one.to for one in self.routes.values())

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(r.stage for r in self.routes.values() if r.stage)

    def with_effects(self, declared: Mapping[str, tuple[OnReplay | None, RouteEffects | None]]) -> Config:
        """Return this config with the given `on_replay` and `effects` of each route."""
        routes = {}
        for name, route in self.routes.items():
            on_replay, effects = declared[name]
            routes[name] = replace(route, on_replay=on_replay, effects=effects)
        return replace(self, routes=routes)

    def is_like(self, other: Config) -> bool:
        """Whether two configs with equal digests are also equal in what the digest leaves out."""
        return self.on_replay == other.on_replay and self.datasets == other.datasets

    def changed_routes(self, other: Config) -> list[str]:
        """Return the routes that this config and another one declare differently, in the order of this one.

        What adapters declare about a route (`effects`) is no part of the text.
        """
        return [
            name
            for name, route in self.routes.items()
            if name in other.routes
            and replace(route, effects=None) != replace(other.routes[name], effects=None)
        ]

    @property
    def on_replay(self) -> dict[str, OnReplay]:
        """What replays do in the routes that declare it."""
        return {route.name: route.on_replay for route in self.routes.values() if route.on_replay}

    def document(self) -> dict[str, Any]:
        """Return JSON values from which `from_document` creates an equal config, without `on_replay` and
        `effects` of its routes: these are stored with the routes (`with_effects`)."""
        document = asdict(self)
        for route in document["routes"].values():
            del route["on_replay"], route["effects"]
        return document

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Config:
        def step(s: Mapping[str, Any]) -> Step:
            condition = s["condition"]
            return Step(
                s["type"],
                s["config"],
                Condition(**condition) if condition else None,
                limit(s),
                s["isolation"],
            )

        def limit(of: Mapping[str, Any]) -> RateLimit | None:
            return RateLimit(**of["rate_limit"]) if of["rate_limit"] else None

        def route(r: Mapping[str, Any]) -> Route:
            given = dict(r)
            given["rate_limit"] = limit(r)
            given["steps"] = tuple(step(s) for s in r["steps"])
            given["to"] = tuple(r["to"])
            given["errors"] = ErrorHandling(**r["errors"])
            return Route(**given)

        routes = {name: route(r) for name, r in doc["routes"].items()}
        kept = doc["retention"]
        retention = Retention(**{**kept, "stages": tuple(kept["stages"])}) if kept else None
        datasets = {
            name: DatasetConfig(**{**given, "routes": tuple(given["routes"]), "sinks": tuple(given["sinks"])})
            for name, given in doc.get("datasets", {}).items()
        }
        return cls(doc["name"], doc["entry"], routes, doc["description"], retention, datasets)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault of a config.

    Attributes:
        severity: a config with an `error` cannot be applied; a `warning` has no such effect.
        code: `E…` or `W…`; stable.
        path: place in the document: `routes.convert.adapters.0.type`; empty for the whole document.
        line: its line in the source, counted from 1.
        column: its character in that line, counted from 1.
        message: human-readable description of the fault.
        suggestion: what to write instead; None if no valid value is similar.
    """

    severity: Literal["error", "warning"]
    code: str
    path: str
    line: int
    column: int
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One immutable version of a config, as the API shows it.

    Attributes:
        name: name of the config, the same for all its versions.
        version: version number, counted from 1.
        hash: `sha256:` and the hash of the parsed document in hex; equal for equivalent texts, and for texts
            that differ only in `on_replay` or `datasets`.
        active: whether the config (all its versions) accepts new runs and replays.
        created_at: time at which this version was stored; RFC 3339 in UTC.
        entry: route that receives the inputs of a run.
        routes: names of the routes, in the order of the source.
        stages: names of the stages of the routes, in the order of the source, without `input`.
        source: YAML text as it was applied.
        warnings: warnings that were found when this version was applied.
    """

    name: str
    version: int
    hash: str
    active: bool
    created_at: str
    entry: str
    routes: list[str]
    stages: list[str]
    source: str
    warnings: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ConfigPreview:
    """What would happen if a text were applied as a config.

    Attributes:
        diagnostics: all errors and warnings, ordered by line.
        name: name of the config; None if there is an error.
        newest: its newest version; None for a new config, or if there is an error.
        is_same: the newest version is equivalent, so no version would be stored.
        added: names of routes that the newest version does not have.
        changed: names of routes that it declares differently.
        removed: names of routes that only the newest version has.
    """

    diagnostics: Sequence[Diagnostic]
    name: str | None = None
    newest: ConfigVersion | None = None
    is_same: bool = False
    added: Sequence[str] = ()
    changed: Sequence[str] = ()
    removed: Sequence[str] = ()
