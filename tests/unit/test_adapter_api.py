"""The adapter API: valid declarations, and declarations that are refused."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from playhead import Context, Item, Output, Reject, Retry, adapter
from playhead.ports.adapter import collect, spec_of

if TYPE_CHECKING:
    from elsewhere import Absent  # type: ignore[import-not-found]


class Settings(BaseModel):
    size: int = 3


# -- items and outputs -----------------------------------------------------------------------------


def test_the_content_type_of_an_item_comes_from_its_suffix_by_default():
    assert Item("a/b.HTML", b"").content_type == "text/html"
    assert Item("a/b.webp", b"").content_type == "application/octet-stream"
    assert Item("a/b.html", b"", "text/plain").content_type == "text/plain"


def test_an_item_created_in_a_test_is_in_the_input_stage_without_a_key():
    item = Item("a.txt", b"x")
    assert (item.stage, item.key, item.attributes) == ("input", None, {})


def test_text_that_is_not_utf8_is_rejected():
    assert Item("a.txt", "é".encode()).text == "é"
    with pytest.raises(Reject, match=r"^not UTF-8$"):
        _ = Item("a.txt", b"\xff").text


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000])
def test_data_that_is_not_json_is_rejected(data):
    assert Item("a.json", b'{"a": [1]}').json() == {"a": [1]}
    with pytest.raises(Reject):
        Item("a.json", data).json()


def test_an_item_derives_outputs_from_bytes_and_text():
    item = Item("a.txt", b"x")
    assert item.derive("é", path="b", content_type="text/csv", n=1) == Output(
        "é".encode(), "b", "text/csv", {"n": 1}
    )
    assert item.derive(b"y") == Output(b"y")


def test_a_retry_has_a_delay_and_refuses_an_invalid_one():
    assert Retry("busy").after is None
    assert Retry("busy", after=1.5).after == 1.5
    assert str(Retry("busy", after=0)) == "busy"
    for after in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            Retry("busy", after=after)


# -- declaring -------------------------------------------------------------------------------------


def test_the_decorator_returns_the_function_unchanged():
    def step(item: Item) -> str:
        """What it does."""
        return item.text

    declared = adapter("step", version="2", produces="text/plain", effects="external")(step)
    assert declared is step
    assert declared(Item("a.txt", b"x")) == "x"
    spec = spec_of(step)
    assert spec is not None
    assert (spec.name, spec.version, spec.produces, spec.effects) == ("step", "2", "text/plain", "external")
    assert (spec.target, spec.config_model, spec.doc) == (step, None, "What it does.")
    assert "test_adapter_api" in spec.origin
    assert ".step (" in spec.origin
    assert (spec.takes_ctx, spec.is_class, spec.is_async) == (False, False, False)


def test_config_and_ctx_are_found_by_name_in_any_order():
    @adapter("step")
    def step(item: Item, /, ctx: Context, *, config: Settings) -> None: ...

    spec = spec_of(step)
    assert spec is not None
    assert spec.config_model is Settings
    assert spec.takes_ctx


def test_a_config_model_local_to_a_function_is_found_if_its_annotation_is_text():
    class Local(BaseModel):
        pass

    @adapter("step")
    def step(item: Item, config: Local) -> None: ...

    assert spec_of(step).config_model is Local  # type: ignore[union-attr]


def test_other_annotations_may_exist_for_type_checkers_only():
    @adapter("step")
    def step(item: Absent, config: Settings) -> Absent: ...

    assert spec_of(step).config_model is Settings  # type: ignore[union-attr]


def test_async_functions_and_generators_are_recognized():
    @adapter("one")
    async def one(item: Item) -> None: ...

    @adapter("many")
    async def many(item: Item) -> AsyncIterator[str]:
        yield item.text

    @adapter("class")
    class Async:
        async def __call__(self, item: Item) -> None: ...

    @adapter("plain")
    def plain(item: Item) -> Iterator[str]:
        yield item.text

    assert [spec_of(a).is_async for a in (one, many, Async, plain)] == [True, True, True, False]  # type: ignore[union-attr]


def test_a_class_gets_config_in_its_constructor_and_ctx_in_each_call():
    @adapter("step")
    class Step:
        """Counts."""

        def __init__(self, config: Settings) -> None: ...
        def __call__(self, item: Item, ctx: Context) -> None: ...
        def close(self) -> None: ...

    spec = spec_of(Step)
    assert spec is not None
    assert (spec.config_model, spec.takes_ctx, spec.is_class, spec.doc) == (Settings, True, True, "Counts.")


def test_only_a_class_can_be_declared_thread_safe():
    with pytest.raises(TypeError, match=r"^adapter 'step': thread_safe is for classes"):

        @adapter("step", thread_safe=True)
        def step(item: Item) -> None: ...


def test_a_subclass_of_an_adapter_must_be_declared_itself():
    @adapter("base")
    class Base:
        def __call__(self, item: Item) -> None: ...

    class Derived(Base): ...

    assert spec_of(Derived) is None
    assert spec_of(adapter("derived")(Derived)).name == "derived"  # type: ignore[union-attr]
    assert spec_of(Base).name == "base"  # type: ignore[union-attr]


def _no_item() -> None: ...
def _other_first(config: Settings, item: Item) -> None: ...
def _item_by_keyword(*, item: Item) -> None: ...
def _unknown(item: Item, contxt: Any = None) -> None: ...
def _variable(item: Item, **config: Any) -> None: ...
def _positional(item: Item, config: Settings, /) -> None: ...
def _bare_config(item, config) -> None: ...
def _dict_config(item: Item, config: dict[str, Any]) -> None: ...
def _hidden_config(item: Item, config: Absent) -> None: ...


class _NoCall:
    pass


class _ConfigInCall:
    def __call__(self, item: Item, config: Settings) -> None: ...


class _CtxInInit:
    def __init__(self, config: Settings, ctx: Context) -> None: ...
    def __call__(self, item: Item) -> None: ...


class _AsyncClose:
    def __call__(self, item: Item) -> None: ...
    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (_no_item, "takes item first"),
        (_other_first, "takes item first"),
        (_item_by_keyword, "takes item first"),
        (_unknown, "contxt"),
        (_variable, "config"),
        (_positional, "by name"),
        (_bare_config, "annotated with nothing"),
        (_dict_config, "BaseModel"),
        (_hidden_config, "TYPE_CHECKING"),
        (_NoCall, "__call__"),
        (_ConfigInCall, "__init__ takes it"),
        (_CtxInInit, "only config"),
        (_AsyncClose, "close is async, but __call__ is not"),
        (functools.partial(_no_item), "neither a function nor a class"),
    ],
)
def test_a_signature_that_cannot_work_is_refused_with_the_adapters_name(target, words):
    with pytest.raises(TypeError, match=words) as caught:
        adapter("mine")(target)
    assert str(caught.value).startswith("adapter 'mine': ")


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a/b"},
        {"name": "a", "version": 1},
        {"name": "a", "version": ""},
        {"name": "a", "produces": "markdown"},
        {"name": "a", "produces": "text/plain\r\nX: y"},
        {"name": "a", "effects": "some"},
    ],
)
def test_a_declaration_that_cannot_work_is_refused(given):
    with pytest.raises((TypeError, ValueError), match="adapter"):
        adapter(**given)


def test_one_function_is_one_adapter():
    @adapter("first")
    def step(item: Item) -> None: ...

    with pytest.raises(TypeError, match=r"already adapter 'first'"):
        adapter("second")(step)


# -- collecting ------------------------------------------------------------------------------------

SOURCE = """
from playhead import adapter
from playhead.adapters.passthrough import passthrough

@adapter("b")
def b(item): ...

@adapter("a")
class A:
    def __call__(self, item): ...

again = b

def helper(item): ...
"""


def module_of(source: str) -> ModuleType:
    module = ModuleType("steps")
    exec(compile(source, "steps.py", "exec"), module.__dict__)
    return module


def test_a_modules_own_adapters_are_collected_once_each_in_order():
    assert [spec.name for spec in collect(module_of(SOURCE))] == ["b", "a"]


def test_a_package_includes_the_adapters_of_its_submodules():
    inner = ModuleType("steps.inner")
    exec(SOURCE, inner.__dict__)
    outer = ModuleType("steps")
    outer.__dict__["b"] = inner.__dict__["b"]
    assert [spec.name for spec in collect(outer)] == ["b"]


def test_an_adapter_hidden_by_another_decorator_is_reported():
    source = SOURCE + "import functools\n@functools.wraps(b)\ndef wrapped(item): return b(item)\n"
    with pytest.raises(TypeError, match=r"put @adapter\('b'\) above"):
        collect(module_of(source))


def test_importing_playhead_loads_no_framework():
    heavy = "{'pydantic', 'fastapi', 'rich', 'typer', 'httpx', 'yaml', 'sqlite3', 'asyncio', 'logging'}"
    code = f"import sys, playhead; print(sorted({heavy} & set(sys.modules)), playhead.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] 0.")
