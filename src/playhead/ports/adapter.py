"""The adapter: one step of a route, as its author sees it.

    @adapter("sentences", produces="text/plain")
    def sentences(item: Item, config: SentencesConfig) -> Iterator[str]: ...

A step takes `item` and, by name, any of `config` (annotated with a pydantic `BaseModel`: that is the
config model) and `ctx`. It is a function, an `async def`, a generator of either kind, or a class:
`__init__(self, config)`, `__call__(self, item[, ctx])`, optional `close(self)`.

It gives `None` (the item ends here), an `Output`, `str` or `bytes`, or an iterable of those. What it
raises spends an attempt; `Reject` makes a dead letter at once, `Retry` says when to try again.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from playhead.keys import content_type_of

if TYPE_CHECKING:
    from logging import Logger
    from types import FunctionType, ModuleType
    from uuid import UUID

F = TypeVar("F", bound=Callable[..., Any])

MARK: Final = "__playhead_adapter__"
CONTENT_TYPE: Final = re.compile(
    r"[\w.+-]+/[\w.+-]+(?:; *[\w.+-]+=(?:[\w.+-]+|\"[ !#-\[\]-~]*\"))*", re.ASCII
)
"""What a content type looks like: `type/subtype`, and parameters. Nothing that could end a header."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)


# -- what goes in and comes out --------------------------------------------------------------------


class Reject(Exception):
    """The item can't be worked, now or later: a dead letter at once (`rejected`)."""


class Retry(Exception):
    """Not now: try the item again. Counts as an attempt; the last one is dead (`adapter_error`).

    Args:
        reason: what a reader of the dead letter should know.
        after: seconds until it is due again; None: as the route's backoff says.
    """

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        if after is not None and not (math.isfinite(after) and after >= 0):
            raise ValueError(f"Retry(after={after!r}): seconds, finite and not below 0")
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True)
class Output:
    """What goes out of a step.

    Attributes:
        path: where it is stored under its route's stage; None: named after the input.
        content_type: None: what the adapter `produces`, else what the path given says, else the input's.
        attributes: JSON values, laid over the input's.
    """

    data: bytes
    path: str | None = None
    content_type: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """What comes into a step.

    Attributes:
        path: under its stage: `guide/page.html`.
        content_type: of its sidecar; left empty, what the path's suffix says.
        attributes: JSON values, handed on from output to output.
        stage: the stage it was read from.
        key: of the stored object; None after the first step of a chain.
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
        """The data as UTF-8 text; raises `Reject` where it is not."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as exc:
            raise Reject("not UTF-8") from exc

    def json(self) -> Any:
        """The data as a JSON value; raises `Reject` where it is not."""
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
        """An output made of this item; text is encoded as UTF-8."""
        return Output(data.encode() if isinstance(data, str) else data, path, content_type, attributes)


@dataclass(frozen=True, slots=True)
class Context:
    """Where an item is being worked.

    Attributes:
        config: name of the config that is run (a step's own settings come as its `config`).
        attempt: 1 at first; also raised by a resend.
        replay: the replay batch, on all that descends from it; None in a plain run.
        data_dir: a folder for what adapters keep; may not exist yet.
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


# -- what is known of an adapter -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """An adapter as declared.

    Attributes:
        produces: content type of outputs that name none.
        effects: `external`: it changes something outside of Playhead.
        target: the function or class itself.
        config_model: a pydantic model; None: the step takes no config.
        doc: its docstring.
        origin: where it was defined, for a reader.
        is_async: it must run on an event loop.
    """

    name: str
    version: str
    produces: str | None
    effects: Literal["none", "external"]
    target: Callable[..., Any]
    config_model: type[Any] | None
    doc: str
    origin: str
    takes_ctx: bool = False
    is_class: bool = False
    is_async: bool = False


def adapter(
    name: str,
    *,
    version: str = "1",
    produces: str | None = None,
    effects: Literal["none", "external"] = "none",
) -> Callable[[F], F]:
    """Declare a function or class as an adapter; it is given back as it was, and stays callable.

    Args:
        name: what a config's `type` says.
        version: of what it makes; written into the sidecar of every output.
        produces: content type of outputs that name none.
        effects: `external` when it changes something outside of Playhead.

    Raises:
        TypeError, ValueError: the declaration can't work, with what to write instead.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(f"adapter name {name!r}: letters, digits, `_`, `-` and `.`, at most 63")
    if not (isinstance(version, str) and version):
        raise TypeError(f'adapter {name!r}: version {version!r} must be a string, like "1"')
    if produces is not None and not CONTENT_TYPE.fullmatch(produces):
        raise ValueError(f'adapter {name!r}: produces={produces!r} is no content type, like "text/plain"')
    if effects not in ("none", "external"):
        raise ValueError(f'adapter {name!r}: effects={effects!r}, must be "none" or "external"')
    # A string annotation may name a model that is local to the function that declares the adapter.
    scope = sys._getframe(1).f_locals

    def mark(target: F) -> F:
        if earlier := spec_of(target):
            raise TypeError(f"adapter {name!r}: {earlier.origin} is already adapter {earlier.name!r}")
        if inspect.isclass(target):
            step, model = _look_at_class(target, f"adapter {name!r}", scope)
        elif inspect.isfunction(target):
            step, model = target, _config_model(target, f"adapter {name!r}", scope, ("config", "ctx"))
        else:
            raise TypeError(f"adapter {name!r}: {target!r} is neither a function nor a class")
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
            # The outermost function decides: a wrapper may well turn one kind into the other.
            is_async=inspect.iscoroutinefunction(step) or inspect.isasyncgenfunction(step),
        )
        setattr(target, MARK, spec)
        return target

    return mark


def spec_of(obj: object) -> AdapterSpec | None:
    """What was declared of a function or class; None when it is no adapter itself.

    A subclass of an adapter, or a wrapper around one, is not one: both would answer to one name.
    """
    spec = getattr(obj, MARK, None)
    return spec if isinstance(spec, AdapterSpec) and spec.target is obj else None


def collect(module: ModuleType) -> list[AdapterSpec]:
    """All adapters that a module defines, or takes over from its own submodules, in order.

    Raises:
        TypeError: one is hidden by a decorator around it.
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


# -- signatures ------------------------------------------------------------------------------------


def _look_at_class(cls: type, what: str, scope: Mapping[str, Any]) -> tuple[FunctionType, type[Any] | None]:
    """The function that is called for each item, and the config model, of an adapter class."""
    step, init, close = (_method(cls, name) for name in ("__call__", "__init__", "close"))
    if not inspect.isfunction(step):
        raise TypeError(f"{what}: class {cls.__qualname__} needs a method __call__(self, item)")
    _check_parameters(step, what, ("ctx",), is_method=True)
    if close is not None and inspect.iscoroutinefunction(close):
        raise TypeError(f"{what}: {cls.__qualname__}.close must be a plain function, not async")
    if not inspect.isfunction(init):
        return step, None
    parameters = list(inspect.signature(init).parameters)[1:]
    if parameters not in ([], ["config"]):
        raise TypeError(
            f"{what}: {cls.__qualname__}.__init__ takes {', '.join(parameters)}; it may take config alone "
            "(ctx comes with each call)"
        )
    return step, _annotated_model(init, what, scope) if parameters else None


def _method(cls: type, name: str) -> object:
    """A method as written, without what every class has; `cls.__call__` would find the metaclass's."""
    for owner in cls.__mro__[:-1]:
        if name in vars(owner):
            return vars(owner)[name]
    return None


def _config_model(
    step: FunctionType, what: str, scope: Mapping[str, Any], names: Collection[str]
) -> type[Any] | None:
    _check_parameters(step, what, names)
    return _annotated_model(step, what, scope) if "config" in inspect.signature(step).parameters else None


def _check_parameters(
    step: FunctionType, what: str, names: Collection[str], *, is_method: bool = False
) -> None:
    rule = f"it takes item first and, by name, {' and '.join(names)}"
    parameters = list(inspect.signature(step).parameters.values())[is_method:]
    if not parameters or parameters[0].name != "item" or parameters[0].kind > 1:
        raise TypeError(f"{what}: {step.__qualname__}{inspect.signature(step)}: {rule}")
    for extra in parameters[1:]:
        if extra.name == "config" and is_method:
            raise TypeError(f"{what}: {step.__qualname__} takes config; in a class, __init__ takes it")
        if extra.name not in names or extra.kind not in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        ):
            raise TypeError(f"{what}: {step.__qualname__} takes {extra}; {rule}, nothing else")


def _annotated_model(function: FunctionType, what: str, scope: Mapping[str, Any]) -> type[Any]:
    """The class that the parameter `config` is annotated with; other annotations are not looked at."""
    annotation = inspect.signature(function).parameters["config"].annotation
    if isinstance(annotation, str):
        try:
            # Not typing.get_type_hints: it resolves all annotations, and one of the others may exist
            # for type checkers only.
            annotation = eval(annotation, inspect.unwrap(function).__globals__, dict(scope))
        except (NameError, AttributeError) as exc:
            raise TypeError(
                f"{what}: the annotation of config, {annotation!r}, is not known at run time ({exc}); "
                "define or import the model above the adapter, outside of `if TYPE_CHECKING`"
            ) from exc
    if not (inspect.isclass(annotation) and hasattr(annotation, "model_validate")):
        shown = "nothing" if annotation is inspect.Parameter.empty else repr(annotation)
        raise TypeError(
            f"{what}: config is annotated with {shown}; annotate it with a class made from pydantic.BaseModel"
        )
    return annotation
