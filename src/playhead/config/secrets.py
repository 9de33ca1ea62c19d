"""Secrets in the config of a step: its references, and fields that must have one."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr

from playhead.config.fields import Spot
from playhead.secrets import ReferenceInvalid, Resolve, SecretUnavailable, has_reference, parts

_SECRETS: Final = (SecretStr, SecretBytes, Secret)
_MAPPINGS: Final = (dict, Mapping)


def check_references(config: Spot, resolve: Resolve) -> None:
    """Add a fault for each invalid reference, and a warning for each that this process cannot read."""
    for spot in _texts(config):
        try:
            found = parts(spot.node.value)
        except ReferenceInvalid as exc:
            spot.fault("E206", str(exc), exc.suggestion)
            continue
        for reference in (part for part in found if not isinstance(part, str)):
            try:
                resolve(reference)
            except SecretUnavailable as exc:
                spot.fault("W105", f"{exc}. Messages wait for a worker that can read the secret")


def check_literals(model: type[Any], config: Spot) -> frozenset[str]:
    """Add a fault for each secret that is written as text; return the paths of these values."""
    found = {spot.path: (name, spot) for name, spot in _secret_values("", model, config)}
    literal = {path: (name, spot) for path, (name, spot) in found.items() if _is_literal(spot.node.value)}
    for name, spot in literal.values():
        meant = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.upper())
        spot.fault(
            "E207",
            f"`{name}` is a secret, and a config is stored and shown: write a reference to an environment "
            "variable or a file",
            f"${{env:{meant}}}",
        )
    return frozenset(literal)


def without_escapes(value: Any) -> Any:
    """Return a copy of a value of a config as a model must check it: `$${` replaced, references kept."""
    if isinstance(value, str) and not has_reference(value):
        return "".join(map(str, parts(value)))
    if isinstance(value, dict):
        return {key: without_escapes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_escapes(item) for item in value]
    return value


def _is_literal(value: object) -> bool:
    return isinstance(value, str | int | float) and value != "" and not has_reference(value)


def _texts(spot: Spot) -> Iterator[Spot]:
    """Yield all texts inside a value, except the keys of mappings."""
    if isinstance(spot.node.value, str):
        yield spot
    for _, field in spot.children():
        yield from _texts(field)
    for n in range(len(spot.node.items)):
        if item := spot.child(n):
            yield from _texts(item)


def _secret_values(name: str, kind: Any, spot: Spot) -> Iterator[tuple[str, Spot]]:
    """Yield the values that a type declares as secrets, each with the name of its field."""
    kind = getattr(kind, "__value__", kind)  # a `type` alias
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _secret_values(name, args[0], spot)
    elif origin in (Union, types.UnionType):
        for one in args:
            yield from _secret_values(name, one, spot)
    elif isinstance(origin or kind, type) and issubclass(origin or kind, _SECRETS):
        yield name, spot
    elif isinstance(kind, type) and issubclass(kind, RootModel):
        yield from _secret_values(name, kind.model_fields["root"].annotation, spot)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for field_name, field in kind.model_fields.items():
            for key in _keys(field_name, field):
                if value := spot.child(key):
                    yield from _secret_values(key, field.annotation, value)
    elif dataclasses.is_dataclass(kind) or hasattr(kind, "__total__"):  # a TypedDict
        for key, annotation in get_type_hints(kind, include_extras=True).items():
            if value := spot.child(key):
                yield from _secret_values(key, annotation, value)
    elif isinstance(origin, type) and issubclass(origin, _MAPPINGS) and len(args) == 2:
        for key, value in spot.children():
            yield from _secret_values(key, args[1], value)
    elif args:
        by_position = origin is tuple and args[-1] is not Ellipsis
        for n in range(len(spot.node.items)):
            if item := spot.child(n):
                for one in args[n : n + 1] if by_position else args:
                    yield from _secret_values(name, one, item)


def _keys(name: str, field: Any) -> set[str]:
    """Return the names that a field may have in a config."""
    alias = field.validation_alias or field.alias
    choices = getattr(alias, "choices", [alias])
    return {name, *(choice for choice in choices if isinstance(choice, str))}
