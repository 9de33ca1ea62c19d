"""The parameters that an adapter may have, and the model in the annotation of its config."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FunctionType


def check_class(
    cls: type, what: str, scope: Mapping[str, Any], first: str
) -> tuple[FunctionType, type[Any] | None]:
    """Check an adapter class; return its `__call__` and its config model.

    Args:
        what: the adapter, for errors.
        scope: the names of the function that declares the adapter.
        first: the name of the first parameter.

    Raises:
        TypeError: it is not a valid adapter.
    """
    step, init, close = (_method(cls, name) for name in ("__call__", "__init__", "close"))
    if not inspect.isfunction(step):
        raise TypeError(f"{what}: class {cls.__qualname__} needs a method __call__(self, {first})")
    _check_parameters(step, what, first, ("ctx",), is_method=True)
    if inspect.iscoroutinefunction(close) and not is_async(step):
        raise TypeError(f"{what}: {cls.__qualname__}.close is async, but __call__ is not; make both async")
    if not inspect.isfunction(init):
        return step, None
    parameters = list(inspect.signature(init).parameters)[1:]
    if parameters not in ([], ["config"]):
        raise TypeError(
            f"{what}: {cls.__qualname__}.__init__ takes {', '.join(parameters)}; it may take only config "
            "(ctx is a parameter of __call__)"
        )
    return step, _annotated_model(init, what, scope) if parameters else None


def _method(cls: type, name: str) -> object:
    """Return a method that the class or a base class other than `object` defines, or None.

    `cls.__call__` would return the `__call__` of the metaclass.
    """
    for owner in cls.__mro__[:-1]:
        if name in vars(owner):
            return vars(owner)[name]
    return None


def check_function(step: FunctionType, what: str, scope: Mapping[str, Any], first: str) -> type[Any] | None:
    """Check an adapter function as `check_class` does; return its config model."""
    _check_parameters(step, what, first, ("config", "ctx"))
    return _annotated_model(step, what, scope) if "config" in inspect.signature(step).parameters else None


def _check_parameters(
    step: FunctionType, what: str, first: str, names: Collection[str], *, is_method: bool = False
) -> None:
    rule = f"it takes {first} first and, by name, {' and '.join(names)}"
    if first == "items":
        rule += " (as declared with batch)"
    parameters = list(inspect.signature(step).parameters.values())[is_method:]
    if not parameters or parameters[0].name != first or parameters[0].kind > 1:
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
    """Return the class in the annotation of the parameter `config`. Other annotations are not evaluated."""
    annotation = inspect.signature(function).parameters["config"].annotation
    if isinstance(annotation, str):
        try:
            # Not typing.get_type_hints, which evaluates all annotations: another one may name a type that
            # is imported for type checkers only.
            annotation = eval(annotation, inspect.unwrap(function).__globals__, dict(scope))
        except (NameError, AttributeError) as exc:
            raise TypeError(
                f"{what}: the annotation of config, {annotation!r}, is not defined at run time ({exc}); "
                "define or import the model above the adapter, outside `if TYPE_CHECKING`"
            ) from exc
    if not (inspect.isclass(annotation) and hasattr(annotation, "model_validate")):
        shown = "nothing" if annotation is inspect.Parameter.empty else repr(annotation)
        raise TypeError(
            f"{what}: config is annotated with {shown}; annotate it with a subclass of pydantic.BaseModel"
        )
    return annotation


def is_async(step: FunctionType) -> bool:
    """Whether a step must run on an event loop."""
    return inspect.iscoroutinefunction(step) or inspect.isasyncgenfunction(step)
