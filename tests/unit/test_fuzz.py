"""Any input from outside results in a value or in an error of Playhead, never in another exception.

Configs are in `test_config_fuzz.py`, cursors in `test_paging.py`. `PLAYHEAD_TEST_EXAMPLES=20000` tries more.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from playhead import Item, keys
from playhead.envelope import Dispatch, Headers, correlation_of, decode_headers, decode_payload
from playhead.errors import PlayheadError
from playhead.ids import parse_uuid, uuid7
from playhead.ports.adapter import Output
from playhead.settings import Settings, load_settings
from playhead.steps import naming
from playhead.steps.outputs import Maker, Returned
from playhead.work import sidecar as sidecars

T = TypeVar("T")

many = settings(suppress_health_check=[HealthCheck.filter_too_much])

E = uuid7()
ROOM = len(str(E)) + len("/stage/")

PIECES = st.sampled_from(
    [
        *("a", "b.c", ".", "..", "", " ", "~", "~2", ".meta.json", ".META.Json", "é", "e\u0301", "\u0344"),
        *("日本", "\0", "\n", "\x85", "\\", "/", "//", "%2e%2e", "C:", "\ud800", "x" * 199, "é" * 99),
        *(".html", ".HTM", ".md", ".json", ".tar.gz", ".meta", "\U0001f600", "\u2028", "\u202e", "\ufeff"),
    ]
)
PATHS = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.lists(st.lists(PIECES, max_size=3).map("".join), max_size=5).map("/".join),
    st.text(max_size=40),
)
FINE = PATHS.filter(lambda path: keys.problem(path, room=ROOM) is None)
TYPES = st.sampled_from(
    [*keys.TYPE_SUFFIXES, keys.OCTET_STREAM, "text/html; charset=utf-8", "TEXT/Markdown", "image/webp", "a/b"]
)


def outcome(work: Callable[[], T]) -> tuple[T | None, PlayheadError | None]:
    """Return the value, or the error of Playhead."""
    try:
        return work(), None
    except PlayheadError as exc:
        return None, exc


# -- keys ------------------------------------------------------------------------------------------


@many
@given(PATHS)
def test_a_path_is_refused_with_a_reason_or_stays_below_its_stage(path: str):
    checked, refusal = outcome(lambda: keys.check_path(path))
    if refusal:
        assert refusal.code == "invalid_path"
        assert len(refusal.detail) > len("path  ")
        refusal.detail.encode()  # can be shown, whatever is in the path
        return
    assert checked == path
    key = keys.object_key(E, "stage", path)
    # What a file system makes of it is the place that it names, and below the folder of the stage.
    assert posixpath.normpath(f"/home/objects/{key}") == f"/home/objects/{key}"
    assert all(len(segment.encode()) <= 255 for segment in keys.sidecar_key(key).split("/"))
    if keys.problem(key) is None:
        assert keys.parse_key(key) == (E, f"stage/{path}")
        assert keys.stage_of(f"stage/{path}", ["stage"], "other") == ("stage", path)


@many
@given(PATHS | st.tuples(st.just(str(E)), PATHS).map("/".join))
def test_a_text_is_not_a_key_or_is_the_key_of_its_parts(key: str):
    parsed = keys.parse_key(key)
    if parsed:
        execution, rest = parsed
        assert f"{execution}/{rest}" == key
        assert keys.problem(key) is None


@many
@given(FINE, st.integers(2, 10**6), st.integers(2, 10**6))
@example("é" * 99 + "~2", 2, 2)
@example("a." + "é" * 98 + "~2", 2, 2)
def test_a_renamed_path_is_another_of_the_same_folder_for_each_attempt(path: str, one: int, other: int):
    renamed = keys.renamed(path, one, room=ROOM)
    assert keys.problem(renamed, room=ROOM) is None
    assert renamed != path
    assert posixpath.dirname(renamed) == posixpath.dirname(path)
    assert (keys.renamed(path, other, room=ROOM) == renamed) == (one == other)


# -- names of outputs ------------------------------------------------------------------------------


def products(item: Item, elements: list[object], *, many: bool, produces: str | None) -> list[str]:
    made = Maker("step 1", produces, ROOM).products(item, Returned(elements, many))
    return [product.path for product in made]


@many
@given(FINE, TYPES, TYPES)
def test_one_output_is_named_by_its_input_and_its_type(path: str, old: str, new: str):
    item = Item(path, b"", content_type=old)
    paths, refusal = outcome(lambda: products(item, [b"x"], many=False, produces=new))
    if refusal:
        assert refusal.code == "invalid_key"
        return
    assert paths
    [named] = paths
    assert keys.problem(named, room=ROOM) is None
    assert posixpath.dirname(named) == posixpath.dirname(path)
    if keys.bare(old) == keys.bare(new) or not naming.suffix(new):
        assert named == path
    else:
        assert named.endswith(naming.suffix(new))
        stem = named.removesuffix(naming.suffix(new))
        replaced = path[len(stem) :].lower()
        assert path.startswith(stem)
        assert replaced == "" or keys.SUFFIX_TYPES[replaced] == keys.bare(old)


@many
@given(FINE, TYPES, st.lists(TYPES, max_size=4), st.booleans())
def test_outputs_of_an_iterable_are_numbered_in_their_own_folder(
    path: str, old: str, kinds: list[str], long: bool
):
    outputs: list[object] = [*(Output(b"x", content_type=kind) for kind in kinds)] * (100 if long else 1)
    item = Item(path, b"", content_type=old)
    named, refusal = outcome(lambda: products(item, outputs, many=True, produces=None))
    if refusal:
        assert refusal.code == "invalid_key"
        return
    assert named is not None
    assert len(set(named)) == len(outputs)
    for number, one in enumerate(named, 1):
        assert keys.problem(one, room=ROOM) is None
        folder, name = posixpath.split(one)
        assert folder == keys.stem(path, old)
        assert name.partition(".")[0] == f"{number:04d}"


@many
@given(FINE, PATHS)
def test_a_path_from_an_adapter_is_used_unchanged_or_refused(path: str, given: str):
    outputs: list[object] = [Output(b"x", path=given)]
    named, refusal = outcome(lambda: products(Item(path, b""), outputs, many=False, produces=None))
    if refusal:
        assert refusal.code == "invalid_key"
        assert keys.problem(given, room=ROOM)
    else:
        assert named == [given]


# -- the envelope ----------------------------------------------------------------------------------


@many
@given(st.binary(max_size=200) | st.text(max_size=200) | st.integers(1, 3000).map(lambda n: "[" * n))
def test_any_payload_and_any_headers_decode_to_values_that_the_api_can_send(payload: bytes | str):
    decoded = [decode_payload(payload), decode_headers(payload)]

    assert json.dumps(decoded, ensure_ascii=False, allow_nan=False).encode()


@many
@given(st.text(max_size=80), st.dictionaries(st.text(max_size=20), st.text(max_size=40)))
def test_external_headers_name_a_row_or_are_refused(message_id: str, headers: dict[str, str]):
    assert correlation_of(message_id, headers) is None or parse_uuid(message_id.rpartition(".")[0])


@many
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(0, 10**9),
    st.booleans(),
    st.dictionaries(st.text(max_size=20), st.text(max_size=40)),
)
def test_a_dispatch_is_decoded_whatever_other_headers_it_has(
    key: str, generation: int, parent: bool, others: dict[str, str]
):
    row = uuid7()
    headers = Headers("q", E, "docs", 1, "convert", uuid7() if parent else None)
    dispatch = Dispatch(headers, str(row), generation, str(uuid7()) if parent else None, key)
    sent: dict[str, Any] = others | headers.shared() | dispatch.own_headers()

    assert decode_payload(dispatch.payload()) == {"object_key": key}
    assert correlation_of(dispatch.message_id, sent) == row
    assert correlation_of("of another broker", sent) == row
    assert all(
        isinstance(value, str) and value for value in (headers.shared() | dispatch.own_headers()).values()
    )


# -- external sidecars -----------------------------------------------------------------------------


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("content_type"), inner),
    max_leaves=8,
)


@many
@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.text().map(lambda kind: json.dumps({"content_type": kind}).encode())
    | JSON.map(lambda value: json.dumps({"attributes": {"a": value}}).encode())
)
def test_the_content_type_of_any_sidecar_is_valid_in_a_header_or_missing(sidecar: bytes):
    told = sidecars.read(sidecar)
    kind = told.content_type
    assert kind is None or (kind.isascii() and kind.isprintable() and "/" in kind)
    assert len(json.dumps(told.attributes, ensure_ascii=False, allow_nan=False).encode()) < 70_000


# -- settings --------------------------------------------------------------------------------------


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["true", "1e400", "-0", "process", "text", "a,b", ",", "s3://", "nats://x:y", "[::1]", "~"]
    ),
    st.sampled_from(
        ["postgresql://u:p@h/db?x=%zz", "http://[", "worker.ran:0", "worker.ran", "x:1", "/dev/null"]
    ),
)
NAMES = st.sampled_from(sorted(Settings.model_fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A folder without `playhead.toml`, or with a test's own."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("settings"))
    yield Path.cwd()
    os.chdir(before)


def loaded(**flags: Any) -> None:
    _, refusal = outcome(lambda: load_settings(**flags))
    assert refusal is None or (refusal.code, bool(refusal.detail)) == ("setup_invalid", True)


@many
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_variables_are_valid_settings_or_the_error_names_the_wrong_one(
    folder: Path, given: dict[str, str]
):
    before = dict(os.environ)
    os.environ.update({f"PLAYHEAD_{name.upper()}": value for name, value in given.items()})
    try:
        loaded()
    finally:
        os.environ.clear()
        os.environ.update(before)


@many
@given(st.dictionaries(NAMES, VALUES | JSON.filter(lambda value: value is not None), max_size=3))
def test_any_flags_are_valid_settings_or_the_error_names_the_wrong_one(folder: Path, given: dict[str, Any]):
    loaded(**given)


TOML = st.one_of(
    st.sampled_from(["inf", "nan", "-1", "1", "0.5", "true", "1979-05-27", "[1, 2]", "{a = 1}", '""', "''"]),
    VALUES.map(json.dumps),
)


@many
@given(
    st.binary(max_size=80)
    | st.dictionaries(NAMES | st.text("ab_", min_size=1, max_size=5), TOML, max_size=3).map(
        lambda table: "\n".join(f"{name} = {value}" for name, value in table.items()).encode()
    )
)
def test_any_file_is_valid_settings_or_the_error_describes_the_problem(folder: Path, content: bytes):
    file = folder / "playhead.toml"
    file.write_bytes(content)
    try:
        loaded()
    finally:
        file.unlink()
