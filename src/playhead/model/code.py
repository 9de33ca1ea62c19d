"""Which code ran: adapters with their versions and fingerprints, and the processes that have loaded them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from playhead.model.health import WorkerInfo

CodeNote = Literal["changed", "differs", "other_here"]
Compare = Literal["code", "version"]
"""What has to be the same of an adapter whose earlier results are taken over: its code, or its version."""


@dataclass(frozen=True, slots=True)
class AdapterCode:
    """An adapter with the code that ran.

    Attributes:
        type: its name in configs.
        version: as set by its author.
        code: fingerprint of its code: `sha256:` of its source, or name and version of its package.
    """

    type: str
    version: str
    code: str


_NEWEST: Final = "newest"
_WORKER: Final = "worker:"
_SIGNS: Final = frozenset("<=!")
_CONDITION: Final = re.compile("([^<=!]+)(<|!=|=)(.+)", re.DOTALL)
_NUMBERS: Final = re.compile(r"\d+(\.\d+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CodeCondition:
    """A condition on the code that made a result.

    Attributes:
        name: type of an adapter; if `is_newest`, the route.
        sign: `<` and `=` compare the version that an adapter declares; `=` also its fingerprint.
        version: the version, a fingerprint or its beginning (`sha256:ab12`), or `newest`.
    """

    name: str
    sign: str
    version: str

    @classmethod
    def of(cls, text: str) -> CodeCondition:
        """Read `chunk<2`, `chunk=2` or `split!=newest`. Raises `ValueError`."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ValueError("is not a condition: write chunk<2, chunk=2 or split!=newest")
        condition = cls(*(part.strip() for part in found.groups()))
        if (condition.sign == "!=") != condition.is_newest:
            raise ValueError("has the wrong sign: != is for newest only, as in split!=newest")
        if condition.sign == "<" and _numbers(condition.version) is None:
            raise ValueError("needs a version of numbers after <, such as 2 or 1.4; use = for others")
        return condition

    @classmethod
    def at(cls, text: str) -> CodeCondition:
        """Read `chunk@2` or `chunk@sha256:ab12`. Raises `ValueError`."""
        name, _, version = text.partition("@")
        if not (name and version) or _SIGNS.intersection(name):
            raise ValueError("is not an adapter with a version: write chunk@2, or chunk@sha256: and its code")
        return cls(name, "=", version)

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.version}"

    @property
    def is_newest(self) -> bool:
        """Whether it is met by the results of a route that are not of the newest code."""
        return self.version == _NEWEST

    def is_met(self, adapters: Iterable[AdapterCode]) -> bool:
        """Whether one of the adapters that made a result has such a version."""
        named = [one for one in adapters if one.type == self.name]
        versions = [one.version for one in named]
        if self.sign == "=":
            is_code = self.version.startswith("sha256:") and any(
                one.code.startswith(self.version) for one in named
            )
            return is_code or self.version in versions
        limit = _numbers(self.version) or ()
        return any((numbers := _numbers(one)) is not None and numbers < limit for one in versions)


@dataclass(frozen=True, slots=True)
class WorkerCondition:
    """A condition on the worker that made a result.

    Attributes:
        worker: id of the process, as `GET /api/v1/workers` returns it.
    """

    worker: str

    def __str__(self) -> str:
        return f"{_WORKER}{self.worker}"

    @property
    def is_newest(self) -> bool:
        """As in `CodeCondition`."""
        return False


MadeByCondition = CodeCondition | WorkerCondition


def made_by_of(text: str) -> MadeByCondition:
    """Read `chunk<2`, `chunk=2`, `split!=newest` or `worker:ID`. Raises `ValueError`."""
    if text.startswith(_WORKER) and len(text) > len(_WORKER):
        return WorkerCondition(text.removeprefix(_WORKER))
    return CodeCondition.of(text)


def _numbers(version: str) -> tuple[int, ...] | None:
    """Return the numbers of a version without zeros at the end, so that 1.0 is 1; None: it has others."""
    if not _NUMBERS.fullmatch(version):
        return None
    found = [int(one) for one in version.split(".")]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


@dataclass(frozen=True, slots=True)
class RanCode:
    """Code that ran in a route.

    Attributes:
        adapters: the adapters of the route, in their order.
        messages: number of messages whose last attempt ran this code.
    """

    adapters: list[AdapterCode]
    messages: int


@dataclass(frozen=True, slots=True)
class RouteCode:
    """The code that ran in a route of an execution.

    Attributes:
        route: name of the route in the execution's config.
        codes: more than one if adapters changed while the execution ran, or differ between workers.
    """

    route: str
    codes: list[RanCode]


@dataclass(frozen=True, slots=True)
class LoadedAdapter(AdapterCode):
    """An adapter that a process has loaded.

    Attributes:
        source: file, module or package that was loaded.
    """

    source: str


@dataclass(frozen=True, slots=True)
class LoadedCode:
    """What a process runs.

    Attributes:
        version: version of Playhead.
        adapters: its adapters, sorted by name.
        changed: types of adapters whose source has changed since they were loaded.
    """

    version: str
    adapters: tuple[LoadedAdapter, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerAdapter(LoadedAdapter):
    """An adapter of a live process.

    Attributes:
        notes: `changed`: its code has changed in the source since the process loaded it. `differs`: another
            live process that consumes the same queue has loaded other code. `other_here`: the machine that
            answers would load other code.
    """

    notes: list[CodeNote] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Worker(WorkerInfo):
    """A live process with the code that it has loaded.

    Attributes:
        heartbeat_age_seconds: seconds since its last heartbeat.
        version: version of Playhead that it runs.
        adapters: adapters that it has loaded, sorted by name.
    """

    heartbeat_age_seconds: float
    version: str
    adapters: list[WorkerAdapter]
