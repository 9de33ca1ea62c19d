"""The adapter interface: how to write one step of a route.

    @adapter("sentences", produces="text/plain")
    def sentences(item: Item, config: SentencesConfig) -> Iterator[str]: ...

A step takes `item` and, by name, optionally `config` and `ctx`. The annotation of `config` is the config
model, a subclass of pydantic's `BaseModel`. A step is one of:

- a function, or a generator function, plain or `async`;
- a class with `__init__(self, config)`, `__call__(self, item[, ctx])` and optionally `close(self)`. Each
  thread of a route has its own instance, unless the class declares `thread_safe=True`. All calls of an
  `async` `__call__` share one instance, and its `close` may be `async`.

With `batch=N`, a step takes `items`, a sequence of at most N items of different messages. It returns a list
with one result for each item, in their order: what a step may return for one item, or an exception for that
item alone. Its `ctx` is a sequence with the context of each item.

A step returns `None` (no output), an `Output`, `str` or `bytes`, or an iterable of those. If it raises, the
attempt fails and the message is retried. `Reject` dead-letters the message at once. `Retry` sets the delay.
`RateLimited` starts a cooldown of the route, and the attempt does not count.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from playhead.keys import content_type_of
from playhead.ports.returns import UNKNOWN, Returns, read_annotation
from playhead.ports.signatures import check_class, check_function, is_async
from playhead.ports.sinks import follows

if TYPE_CHECKING:
    from logging import Logger
    from types import ModuleType
    from uuid import UUID

    from playhead.sourcecode import CoveredFile, WholeFiles

F = TypeVar("F", bound=Callable[..., Any])
Effects = Literal["none", "idempotent", "external"]

MARK: Final = "__playhead_adapter__"
CONTENT_TYPE: Final = re.compile(
    r"[\w.+-]+/[\w.+-]+(?:; *[\w.+-]+=(?:[\w.+-]+|\"[ !#-\[\]-~]*\"))*", re.ASCII
)
"""A content type: `type/subtype`, and parameters. No line breaks, so that it is a valid HTTP header."""
MOST_IN_BATCH: Final = 10_000
MOST_WAIT_SECONDS: Final = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


# -- input and output ------------------------------------------------------------------------------


class Reject(Exception):
    """The item can never be processed. The message is dead-lettered at once, with the code `rejected`."""


class Retry(Exception):
    """The item cannot be processed now; retry it later.

    The attempt counts. If it was the last one, the message is a dead letter with the code
    `retries_exhausted`.

    Args:
        reason: shown in the dead letter.
        after: seconds until the next attempt; None uses the route's backoff.
    """

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        if after is not None and not (math.isfinite(after) and after >= 0):
            raise ValueError(f"Retry(after={after!r}): must be finite seconds, 0 or more")
        super().__init__(reason)
        self.after = after


class RateLimited(Exception):
    """The service that the step calls has rejected the call because of its rate limit.

    The attempt does not count. For the given time, no worker starts a call of the step's rate limit, or of
    its route if the step has no `rate_limit`.

    Args:
        reason: shown as the reason of the cooldown.
        after: seconds until the next call, for example from the header `Retry-After`; None uses the route's
            `retry_delay_seconds`. After an hour, a call is tried in any case.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        if after is not None and not (math.isfinite(after) and after >= 0):
            raise ValueError(f"RateLimited(after={after!r}): must be finite seconds, 0 or more")
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a step.

    Attributes:
        data: the content.
        path: its path in the stage of the route; None derives the path from that of the input.
        content_type: None uses the adapter's `produces`, else the type of the suffix of `path`, else the
            input's content type.
        attributes: JSON values, merged into those of the input. They override equal names of the input.
    """

    data: bytes
    path: str | None = None
    content_type: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """The input of a step.

    Attributes:
        path: its path in its stage, for example `guide/page.html`.
        data: the content.
        content_type: from its sidecar; an empty value is replaced by the type of the path's suffix.
        attributes: JSON values, which every output inherits.
        stage: the stage from which the item was read.
        key: the key of the stored object; None after the first step of a chain.
    """

    path: str
    data: bytes
    content_type: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stage: str = "input"
    key: str | None = None

    def __post_init__(self) -> None:
        if not self.content_type:
            object.__setattr__(self, "content_type", content_type_of(self.path))

    @property
    def text(self) -> str:
        """The data as UTF-8 text. Raises `Reject` if the data is not valid UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as exc:
            raise Reject("not UTF-8") from exc

    def json(self) -> Any:
        """Return the data as a JSON value. Raises `Reject` if the data is not valid JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as exc:
            raise Reject(f"not JSON: {exc}") from exc

    def derive(
        self,
        data: bytes | str,
        *,
        path: str | None = None,
        content_type: str | None = None,
        **attributes: Any,
    ) -> Output:
        """Create an output from this item. Text is encoded as UTF-8."""
        return Output(data.encode() if isinstance(data, str) else data, path, content_type, attributes)


@dataclass(frozen=True, slots=True)
class Context:
    """The message and the execution to which an item belongs.

    Attributes:
        execution_id: the execution.
        correlation_id: the message.
        config: the name of the running config. (The step's own config is its argument `config`.)
        config_version: the version of that config.
        route: the name of the route.
        attempt: the number of this attempt, from 1. A resent message continues counting.
        replay: the replay batch of the message or of its ancestor; None if the message is not from a replay.
        data_dir: the folder for files of adapters; it may not exist yet.
        log: a logger for the adapter.
        internal_hosts: hosts, `host:port` and networks with internal addresses to which the operator allows
            steps to connect.
        mask: replaces the secrets of the route's configs in a text by `***`. Errors and log lines are masked
            in any case; use it for other texts to be stored, such as a URL in an attribute.
        dataset: the dataset of the route; None if it has none. Rows of a sink that follows it are seen only
            when they are published, so they replace no others.
    """

    execution_id: UUID
    correlation_id: UUID
    config: str
    config_version: int
    route: str
    attempt: int
    replay: UUID | None
    data_dir: str
    log: Logger
    internal_hosts: Sequence[str] = ()
    mask: Callable[[str], str] = str
    dataset: str | None = None

    @property
    def result(self) -> str:
        """The id of what this attempt produces. A sink stores it with each row."""
        return f"{self.correlation_id}.{self.attempt}"


# -- declaration -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """A declared adapter.

    Attributes:
        name: the `type` of steps in a config.
        version: the version of its outputs, as declared.
        produces: the content type of outputs that set no content type.
        effects: whether the adapter changes state outside Playhead, and whether a repeated call changes more.
        target: the decorated function or class.
        config_model: a pydantic model; None if the step takes no config.
        doc: its docstring.
        origin: module, file and line of the definition, to be displayed.
        takes_ctx: it has a parameter `ctx`.
        is_class: `target` is a class.
        is_async: it must run on an event loop.
        is_thread_safe: several threads may call one instance at once.
        batch: how many items one call takes at most; None: it takes one item, not a sequence.
        wait_seconds: how long an item waits for others of its batch.
        is_sink: its rows replace those of earlier executions, in an index or a table that others read.
        follows: it has the methods of `playhead.sinks.Sink`, so its rows follow publications.
        reuse: an earlier result for an equal item may be taken over.
        returns: what its return annotation promises.
        code: fingerprint of the code that was loaded: that of its source, or name and version of its package.
            Set when the adapter is loaded.
        covers: what the fingerprint of its source covers.
        whole: why it covers whole files; None if it covers only what the adapter uses.
        source: what was loaded: the path of a file, the name of a module, or the name of a package.
    """

    name: str
    version: str
    produces: str | None
    effects: Effects
    target: Callable[..., Any]
    config_model: type[Any] | None
    doc: str
    origin: str
    takes_ctx: bool = False
    is_class: bool = False
    is_async: bool = False
    is_thread_safe: bool = False
    batch: int | None = None
    wait_seconds: float = 0.0
    is_sink: bool = False
    follows: bool = False
    reuse: bool = True
    returns: Returns = UNKNOWN
    code: str = ""
    covers: tuple[CoveredFile, ...] = ()
    whole: WholeFiles | None = None
    source: str = ""


def adapter(
    name: str,
    *,
    version: str = "1",
    produces: str | None = None,
    effects: Effects = "none",
    thread_safe: bool = False,
    batch: int | None = None,
    wait_seconds: float = 0.1,
    sink: bool = False,
    reuse: bool = True,
) -> Callable[[F], F]:
    """Declare a function or class as an adapter. It is returned unchanged, so it can still be called.

    Args:
        name: the `type` of steps in a config.
        version: a version of your choice, written to the sidecar of every output. Change it when the outputs
            change.
        produces: the content type of outputs that set no content type.
        effects: `external` if the adapter changes state outside Playhead; `idempotent` if it does, and a
            repeated call for the same item changes nothing more.
        thread_safe: for a class: all threads of a route share one instance. Otherwise each has its own.
        batch: the step takes `items`, a sequence of at most this number of items. With it, the `concurrency`
            of a route is the number of batches that a worker process handles at the same time.
        wait_seconds: how long an item waits at most for others of its batch, while fewer are available.
        sink: the step writes rows that replace those of earlier executions, in an index or a table that
            others read. Playhead warns before a replay of only some objects, or of older ones, into it.
        reuse: False if the result depends on more than the item, the config and the code, for example on the
            time or on a service. Then no run takes over an earlier result.

    Raises:
        TypeError, ValueError: the declaration is invalid; the message states the correct form.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(
            f"adapter name {name!r}: must be at most 63 letters, digits, `_`, `-` and `.`, and begin with a "
            "letter or digit"
        )
    if not (isinstance(version, str) and version):
        raise TypeError(f'adapter {name!r}: version {version!r} must be a string, like "1"')
    if produces is not None and not CONTENT_TYPE.fullmatch(produces):
        raise ValueError(f'adapter {name!r}: produces={produces!r} is not a content type, like "text/plain"')
    if effects not in get_args(Effects):
        raise ValueError(f'adapter {name!r}: effects={effects!r}, must be "none", "idempotent" or "external"')
    if batch is not None and not (isinstance(batch, int) and 1 <= batch <= MOST_IN_BATCH):
        raise ValueError(f"adapter {name!r}: batch={batch!r}, must be from 1 to {MOST_IN_BATCH}")
    if not (isinstance(wait_seconds, int | float) and 0 <= wait_seconds <= MOST_WAIT_SECONDS):
        raise ValueError(
            f"adapter {name!r}: wait_seconds={wait_seconds!r}, must be from 0 to {MOST_WAIT_SECONDS}"
        )
    first = "item" if batch is None else "items"
    # The annotation may be a string that names a model local to the function that declares the adapter.
    scope = sys._getframe(1).f_locals

    def mark(target: F) -> F:
        if earlier := spec_of(target):
            raise TypeError(f"adapter {name!r}: {earlier.origin} is already adapter {earlier.name!r}")
        if inspect.isclass(target):
            step, model = check_class(target, f"adapter {name!r}", scope, first)
        elif thread_safe:
            raise TypeError(f"adapter {name!r}: thread_safe is for classes; a function has no instances")
        elif inspect.isfunction(target):
            step, model = target, check_function(target, f"adapter {name!r}", scope, first)
        else:
            raise TypeError(f"adapter {name!r}: {target!r} is neither a function nor a class")
        if batch and (inspect.isgeneratorfunction(step) or inspect.isasyncgenfunction(step)):
            raise TypeError(f"adapter {name!r}: a step with batch returns a list; it must not be a generator")
        code = inspect.unwrap(step).__code__
        spec = AdapterSpec(
            name=name,
            version=version,
            produces=produces,
            effects=effects,
            target=target,
            config_model=model,
            doc=inspect.cleandoc(target.__doc__ or ""),
            origin=f"{target.__module__}.{target.__qualname__} ({code.co_filename}:{code.co_firstlineno})",
            takes_ctx="ctx" in inspect.signature(step).parameters,
            is_class=inspect.isclass(target),
            # Checked on `step`, not on the unwrapped function: a wrapper may turn one kind into the other.
            is_async=is_async(step),
            is_thread_safe=thread_safe,
            batch=batch,
            wait_seconds=float(wait_seconds),
            is_sink=sink or follows(target),
            follows=follows(target),
            reuse=reuse,
            returns=read_annotation(
                inspect.signature(step).return_annotation,
                inspect.unwrap(step).__globals__ | scope,
                batch=batch is not None,
            ),
        )
        setattr(target, MARK, spec)
        return target

    return mark


def spec_of(obj: object) -> AdapterSpec | None:
    """Return the declaration of an adapter; None if the object is not an adapter.

    A subclass or a wrapper inherits the declaration of its adapter, but does not count: the name would have
    two implementations.
    """
    spec = getattr(obj, MARK, None)
    return spec if isinstance(spec, AdapterSpec) and spec.target is obj else None


def collect(module: ModuleType) -> list[AdapterSpec]:
    """Return all adapters that a module defines or imports from its own submodules, in order.

    Raises:
        TypeError: another decorator is applied on top of `@adapter` and hides the adapter.
    """
    specs: dict[int, AdapterSpec] = {}
    for name, value in vars(module).items():
        if spec := spec_of(value):
            home = spec.target.__module__
            if home == module.__name__ or home.startswith(module.__name__ + "."):
                specs[id(spec)] = spec
        elif inspect.isfunction(value) and isinstance(hidden := vars(value).get(MARK), AdapterSpec):
            raise TypeError(
                f"{name} in {hidden.origin}: put @adapter({hidden.name!r}) above its other decorators"
            )
    return list(specs.values())
