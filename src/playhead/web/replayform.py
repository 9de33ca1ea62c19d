"""The form of a replay: its fields as they were typed, and the request that they mean."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.datastructures import ImmutableMultiDict

from playhead.errors import BadRequest
from playhead.limits import InvalidValue
from playhead.model import (
    OTHER_ROUTES,
    DepthPace,
    OnReplay,
    Pace,
    Plan,
    RatePace,
    Replay,
    ReplayRequest,
)

EFFECTS: Final[tuple[OnReplay, ...]] = ("run", "skip", "refuse")
PACES: Final = ("none", "rate", "queue_depth")
_TICKED: Final = ("publish", "reuse")
"""Fields that are `1` or empty, and options of the command."""
_EFFECTS: Final = "effects."
"""Prefix of the fields with what the replay does in a route."""
_MOST_TEXT: Final = 20_000
_LISTS: Final = ("include", "exclude", "content_type")


@dataclass(frozen=True, slots=True)
class ReplayForm:
    """The fields of the form, named as in the API. An empty text: not given.

    Attributes:
        from_execution_id: execution whose objects are replayed.
        from_stage: its stage.
        from_path: folder or object in the stage.
        to_route: target route.
        config_version: version of its config; empty: the newest.
        include, exclude: globs, one a line.
        modified_after, modified_before: times.
        content_type: media types, one a line.
        only: `failed` or `unfinished`.
        in_replay: batch that `only` is about.
        made_by: condition on the code of the results of the route.
        limit: number of objects.
        effects: what the replay does in routes, by route.
        pace: `none`, `rate` or `queue_depth`.
        pace_value: messages per second, or in the queue.
        canary: number of first objects.
        max_failed: how many of them may fail.
        priority: `normal` or `bulk`.
        reason: why it is replayed.
        publish: `1`: publish the result in the datasets of the route.
        reuse: `1`: take over earlier results for items that are the same.
        others_valid: `1`: declare that the results for the objects that are left out are valid.
        require_code: `1`: refuse to send work to workers with outdated or different code. `0`: send it.
            Empty: refuse if the plan names such workers.
    """

    from_execution_id: str = ""
    from_stage: str = ""
    from_path: str = ""
    to_route: str = ""
    config_version: str = ""
    include: str = ""
    exclude: str = ""
    modified_after: str = ""
    modified_before: str = ""
    content_type: str = ""
    only: str = ""
    in_replay: str = ""
    made_by: str = ""
    limit: str = ""
    effects: Mapping[str, str] | None = None
    pace: str = "none"
    pace_value: str = ""
    canary: str = ""
    max_failed: str = ""
    canary_seed: str = ""
    pause_if: str = ""
    of_last: str = ""
    priority: str = ""
    reason: str = ""
    publish: str = ""
    reuse: str = ""
    others_valid: str = ""
    require_code: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ReplayForm:
        """Return the form that a query or a sent form has filled in."""
        texts = {
            one.name: "\n".join(_all(given, one.name)).replace("\r\n", "\n").strip()
            for one in fields(cls)
            if one.name != "effects"
        }
        if any(len(text) > _MOST_TEXT or "\0" in text for text in texts.values()):
            raise BadRequest("invalid_body", f"a field has a NUL, or more than {_MOST_TEXT:,} characters")
        # A checkbox that is not ticked sends nothing, so the form always sends `0` first.
        texts["require_code"] = texts["require_code"][-1:]
        effects = {
            name.removeprefix(_EFFECTS): str(given[name]) for name in given if name.startswith(_EFFECTS)
        }
        return cls(**{name: text for name, text in texts.items() if text}, effects=effects)

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> ReplayForm:
        """Return the form with the fields of a plan's request."""
        texts = {
            one.name: "\n".join(value) if isinstance(value, list) else "1" if value is True else str(value)
            for one in fields(cls)
            if one.name not in ("effects", "pace") and (value := request.get(one.name)) is not None
        }
        return cls(**texts, effects=_effects_of(request))

    @property
    def is_complete(self) -> bool:
        """Whether the form names an execution, a stage and a route."""
        return bool(self.from_execution_id and self.from_stage and self.to_route)

    @property
    def requires_code(self) -> bool:
        """Whether the replay is refused while a worker has outdated or different code."""
        return self.require_code == "1"

    @property
    def is_filtered(self) -> bool:
        """Whether the form has a condition that leaves out objects of the stage."""
        return any(
            getattr(self, name) for name in (*_LISTS, *_TIMES, "only", "in_replay", "made_by", "limit")
        )

    @property
    def has_relative_time(self) -> bool:
        return any(getattr(self, name).startswith("-") for name in _TIMES)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that are not empty, for a URL."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "effects":
                yield from ((f"{_EFFECTS}{route}", policy) for route, policy in (value or {}).items())
            elif value and (one.name, value) != ("pace", "none"):
                yield one.name, value

    def href(self, **more: object) -> str:
        """Return the URL of the page with this form."""
        return f"/replay?{urlencode([*self.pairs(), *more.items()])}"

    # -- the request -------------------------------------------------------------------------------

    def body(self) -> dict[str, Any]:
        """Return the body of the API's request for a plan of this form.

        Raises:
            BadRequest: a field that needs a number has none.
        """
        texts: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        lists = {name: _lines(getattr(self, name)) for name in _LISTS}
        numbers = {name: _number(name, getattr(self, name)) for name in _NUMBERS}
        others: dict[str, Any] = {"effects": dict(self.effects or {}), "pace": self._pace()}
        others["others_valid"] = True if self.others_valid == "1" else None
        given = texts | lists | numbers | others
        return {name: value for name, value in given.items() if value not in ("", None, {})}

    def to_plan(self, source: UUID, in_replay: UUID | None) -> ReplayRequest:
        """Return the request for a plan. `in_replay` is the batch that `in_replay` names.

        Raises:
            BadRequest: a field is invalid.
        """
        named = {"from_execution_id": str(source)} | ({"in_replay": str(in_replay)} if in_replay else {})
        return _request(self.body() | named)

    def to_replay(self, plan: UUID, key: str) -> ReplayRequest:
        """Return the request for the replay of a plan, with what belongs to the replay.

        Raises:
            BadRequest: a field is invalid.
        """
        body: dict[str, Any] = {"plan_id": str(plan)}
        if pace := self._pace():
            body["pace"] = pace
        if (objects := _number("canary", self.canary)) is not None:
            body["canary"] = {"objects": objects, "max_failed": _number("max_failed", self.max_failed) or 0}
            if (seed := _number("canary_seed", self.canary_seed)) is not None:
                body["canary"]["seed"] = seed
        if (failed := _number("pause_if", self.pause_if)) is not None:
            body["pause_if"] = {"failed": failed}
            if (of_last := _number("of_last", self.of_last)) is not None:
                body["pause_if"]["of_last"] = of_last
        body |= {name: text for name in ("priority", "reason") if (text := getattr(self, name))}
        body |= {name: True for name in _TICKED if getattr(self, name) == "1"}
        return replace(_request(body), require_code=self.requires_code, key=key)

    def limited(self, replay: Replay) -> ReplayForm:
        """Return the form with the pace, the canary and the guard of a replay."""
        form, pace, canary, guard = self, replay.pace, replay.canary, replay.pause_if
        if isinstance(pace, RatePace):
            form = replace(form, pace="rate", pace_value=f"{pace.rate:g}")
        elif pace is not None:
            form = replace(form, pace="queue_depth", pace_value=str(pace.queue_depth))
        if canary is not None:
            seed = "" if canary.seed is None else str(canary.seed)
            most = f"{canary.max_failed:g}"
            form = replace(form, canary=str(canary.objects), max_failed=most, canary_seed=seed)
        if guard is not None:
            form = replace(form, pause_if=f"{guard.failed:g}", of_last=str(guard.of_last))
        return form

    def pace_of(self) -> Pace | None:
        """Return the pace. Raises `BadRequest`."""
        pace = self._pace()
        if pace is None:
            return None
        try:
            return RatePace(**pace) if "rate" in pace else DepthPace(**pace)
        except InvalidValue as exc:
            raise BadRequest("invalid_body", f"{exc}") from None

    def _pace(self) -> dict[str, Any] | None:
        if self.pace not in PACES:
            raise BadRequest("invalid_body", f"pace is {self.pace!r}; use one of: {', '.join(PACES)}")
        if self.pace == "none":
            return None
        number = _number("the pace", self.pace_value)
        if number is None:
            raise BadRequest("invalid_body", "the pace needs a number")
        return {self.pace: number}

    def fixed(self, plan: Plan) -> ReplayForm:
        """Return the form with what its plan has fixed: times, the batch, and numbers."""
        names = [name for name in (*_TIMES, "in_replay", "limit") if name in plan.request]
        known: dict[str, Any] = {name: str(plan.request[name]) for name in names}
        if self.config_version:
            known["config_version"] = str(plan.to_config_version)
        return replace(self, **known)

    def matches(self, plan: Plan) -> bool:
        """Whether a plan has counted what this form asks for, with the values that `fixed` returns."""
        asked = plan.request
        for name in (*_TEXTS, "limit"):
            if str(asked.get(name) or "").removesuffix("/") != getattr(self, name).removesuffix("/"):
                return False
        if self.config_version and self.config_version != str(plan.to_config_version):
            return False
        if (self.others_valid == "1") != bool(asked.get("others_valid")):
            return False
        if any((_lines(getattr(self, name)) or None) != asked.get(name) for name in _LISTS):
            return False
        # Those that `made_by` selects become paths.
        unknown = ("attributes",) if self.made_by else ("attributes", "selected_paths")
        return asked.keys().isdisjoint(unknown) and self._has_effects_of(plan)

    def _has_effects_of(self, plan: Plan) -> bool:
        """Whether the plan does in each route what the form says of it."""
        does: dict[str, str] = {one.route: one.on_replay for one in plan.routes} | _effects_of(plan.request)
        return all(does.get(route, "run") == policy for route, policy in (self.effects or {}).items())

    def names_effects_of(self, plan: Plan) -> bool:
        """Whether the form names all routes in which the plan does not run: a link may not mean them."""
        return _effects_of(plan.request).keys() <= (self.effects or {}).keys()


_TIMES: Final = ("modified_after", "modified_before")
_TEXTS: Final = (
    *("from_execution_id", "from_stage", "from_path", "to_route"),
    *("only", "in_replay", "made_by", *_TIMES),
)
_NUMBERS: Final = ("config_version", "limit")


def _all(given: Mapping[str, Any], name: str) -> list[str]:
    if isinstance(given, ImmutableMultiDict):
        return [str(one) for one in given.getlist(name)]
    return [given[name]] if name in given else []


def _lines(text: str) -> list[str] | None:
    return [line.strip() for line in text.splitlines() if line.strip()] or None


def _effects_of(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the effects of a plan's request by route; `*` stands for the routes that it does not name."""
    effects = request.get("effects") or {}
    return {OTHER_ROUTES: effects} if isinstance(effects, str) else dict(effects)


def _number(name: str, text: str) -> int | float | None:
    """Return the number that a field means; None for an empty one. Its limits are those of the request."""
    typed = text.replace(",", "").replace(" ", "")
    if not typed:
        return None
    try:
        number = int(typed) if typed.isdecimal() else float(typed)
        is_number = math.isfinite(number)
    except (ValueError, OverflowError):
        is_number = False
    if not is_number:
        raise BadRequest("invalid_body", f"{name} is {text!r}; use a number")
    return number


def _request(body: Mapping[str, Any]) -> ReplayRequest:
    try:
        return ReplayRequest.of_body(body)
    except ValueError as exc:
        raise BadRequest("invalid_body", f"{exc}") from None


def command_of(plan: Plan, form: ReplayForm) -> str:
    """Return the command that replays a plan as the form says."""
    words = ["playhead", "replay", "--plan", str(plan.plan_id)]
    if form.pace != "none" and form.pace_value:
        words += ["--rate" if form.pace == "rate" else "--queue-depth", form.pace_value]
    if form.canary:
        words += ["--canary", form.canary]
        words += ["--max-failed", form.max_failed] if form.max_failed else []
        words += ["--seed", form.canary_seed] if form.canary_seed else []
    if form.pause_if:
        words += ["--pause-if", f"failed>{form.pause_if}"]
        words += ["--of-last", form.of_last] if form.of_last else []
    if form.requires_code:
        words.append("--require-code")
    words += [f"--{name}" for name in _TICKED if getattr(form, name) == "1"]
    for name in ("priority", "reason"):
        words += [f"--{name}", text] if (text := getattr(form, name)) else []
    return shlex.join(words)


def body_of(plan: Plan, form: ReplayForm) -> Mapping[str, Any]:
    """Return the body of the request of the API that replays a plan as the form says."""
    try:
        return form.to_replay(plan.plan_id, "").body()
    except BadRequest:
        return {"plan_id": str(plan.plan_id)}


def plan_body(form: ReplayForm) -> Mapping[str, Any]:
    """Return the body of the request of the API for the plan of a form."""
    try:
        return form.body()
    except BadRequest:
        return {name: text for name in _TEXTS if (text := getattr(form, name))}
