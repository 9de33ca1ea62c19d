"""Secrets in the configs of adapters: what validation checks without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel, SecretBytes, SecretStr, model_validator
from typing_extensions import TypedDict

from playhead import Item, adapter
from playhead.config import parse
from playhead.model import Diagnostic
from playhead.ports.adapter import spec_of
from playhead.secrets import Reference, SecretUnavailable

LITERAL = "sk-literal-value"
AT = "routes.r.adapters.0.config."


class Login(BaseModel):
    user: str = ""
    password: SecretStr = SecretStr("")


class Headers(RootModel[dict[str, SecretStr]]):
    pass


@dataclasses.dataclass
class Proxy:
    token: SecretStr


class Typed(TypedDict, total=False):
    token: SecretBytes


class Config(BaseModel):
    key: Annotated[SecretStr, Field(min_length=4)] | None = None
    renamed: SecretStr | None = Field(None, alias="api-key")
    logins: list[Login] = []
    headers: Headers | None = None
    named: Mapping[str, SecretStr] = {}
    pair: tuple[str, SecretBytes] | None = None
    proxy: Proxy | None = None
    typed: Typed | None = None
    port: int = 1
    mode: Literal["a", "b"] = "a"
    text: str = ""
    breaks: bool = False

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.breaks and self.text != "right":
            raise ValueError(f"wrong: {self.text}")
        return self


@adapter("call")
def call(item: Item, config: Config) -> None: ...


def found(config: str, values: Mapping[str, str] | None = None) -> tuple[Diagnostic, ...]:
    def resolve(reference: Reference) -> str:
        if values is None or str(reference) not in values:
            raise SecretUnavailable(f"{reference} is missing")
        return values[str(reference)]

    spec = spec_of(call)
    assert spec
    source = (
        'version: "1.0"\nname: docs\nentry: r\n'
        f"routes: {{r: {{adapters: [{{type: call, config: {config}}}]}}}}"
    )
    return parse(source, adapters={"call": spec}, resolve=resolve).diagnostics


def codes(config: str, values: Mapping[str, str] | None = None) -> dict[str, str]:
    return {fault.path.removeprefix(AT): fault.code for fault in found(config, values)}


@pytest.mark.parametrize(
    ("config", "path", "suggestion"),
    [
        ("{key: LITERAL}", "key", "${env:KEY}"),
        ("{api-key: LITERAL}", "api-key", "${env:API_KEY}"),
        ("{logins: [{}, {password: LITERAL}]}", "logins.1.password", "${env:PASSWORD}"),
        ("{headers: {x-token: LITERAL}}", "headers.x-token", "${env:X_TOKEN}"),
        ("{named: {ä: LITERAL}}", "named.ä", "${env:_}"),
        ("{pair: [user, LITERAL]}", "pair.1", "${env:PAIR}"),
        ("{proxy: {token: LITERAL}}", "proxy.token", "${env:TOKEN}"),
        ("{typed: {token: LITERAL}}", "typed.token", "${env:TOKEN}"),
        ("{key: 'a $${env:KEY} LITERAL'}", "key", "${env:KEY}"),
    ],
)
def test_a_literal_secret_is_refused_and_not_shown(config, path, suggestion):
    faults = [fault for fault in found(config.replace("LITERAL", LITERAL)) if fault.path == AT + path]
    assert [(fault.code, fault.suggestion) for fault in faults] == [("E207", suggestion)]
    assert LITERAL not in repr(found(config.replace("LITERAL", LITERAL)))


def test_a_literal_secret_that_is_invalid_too_is_not_shown():
    faults = found("{key: abc, port: x}")
    assert [(fault.code, fault.path) for fault in faults] == [("E207", AT + "key"), ("E205", AT + "port")]
    assert "abc" not in repr(faults)


def test_references_empty_secrets_and_defaults_are_accepted():
    values = {"${env:A}": "value", "${file:/x}": "other"}
    config = "{key: 'Bearer ${env:A}', logins: [{user: u}, {password: ''}], pair: [u, '${file:/x}']}"
    assert codes(config, values) == {}
    assert codes("{key: }", values) == {}


def test_a_reference_that_cannot_be_read_here_is_a_warning():
    config = "{key: '${env:A}', text: '${env:A}${env:B}'}"
    assert [(f.code, f.path.removeprefix(AT), f.severity) for f in found(config, {"${env:A}": "value"})] == [
        ("W105", "text", "warning")
    ]
    (fault,) = found("{text: '${env:B}'}")
    assert fault.message.startswith("${env:B} is missing")


def test_checks_that_need_the_value_are_left_to_the_worker():
    values = {"${env:A}": "secret-of-this-test"}
    for config in ("port: '${env:A}'", "mode: '${env:A}'", "breaks: true, text: '${env:A}'"):
        assert codes(f"{{{config}}}", values) == {}, config
    assert codes("{port: '${env:A}', mode: c}", values) == {"mode": "E205"}
    assert codes("{text: '${env:A}', txt: 1}", values) == {"txt": "E204"}


def test_an_escaped_reference_is_checked_as_the_text_that_the_adapter_gets():
    seen: list[Any] = []

    class Seen(BaseModel):
        text: str

        @model_validator(mode="after")
        def _note(self) -> Seen:
            seen.append(self.text)
            return self

    @adapter("note")
    def note(item: Item, config: Seen) -> None: ...

    spec = spec_of(note)
    assert spec
    source = (
        'version: "1.0"\nname: docs\nentry: r\n'
        "routes: {r: {adapters: [{type: note, config: {text: '$${env:A} $${b}'}}]}}"
    )
    parsed = parse(source, adapters={"note": spec})
    assert parsed.diagnostics == ()
    assert seen == ["${env:A} ${b}"]
    assert parsed.config
    assert parsed.config.routes["r"].steps[0].config == {"text": "$${env:A} $${b}"}
