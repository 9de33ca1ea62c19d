"""Rows for requests that cannot be right, and those for paths, names, ids and queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}
TEXT = {"Content-Type": "text/plain"}
API = "/api/v1"
REPLAY = {"from_execution_id": "RUN", "from_stage": "shouted", "to_route": "theirs"}
SHAPE = "(422)"
"""Stands for a code where the answer has the contract's shape of a 422."""


class Row(NamedTuple):
    """What is asked, and what comes back.

    Attributes:
        sent: arguments for httpx; names in capitals are replaced by values.
        code: the error code, which determines the status; or `SHAPE`.
        words: words that must all be in the detail.
    """

    method: str
    path: str
    sent: dict[str, Any]
    code: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        sent = json.dumps(self.sent, default=lambda v: repr(v)[:40], ensure_ascii=True)
        return f"{self.method} {self.path} {sent}"[:120]


def get(path: str, code: str, /, *words: str, **query: str) -> Row:
    return Row("GET", f"{API}/{path}", {"params": query} if query else {}, code, words)


def post(path: str, body: Any, code: str, *words: str) -> Row:
    return Row("POST", f"{API}/{path}", {} if body is None else {"json": body}, code, words)


def raw(path: str, content: bytes, headers: dict[str, str], code: str, *words: str) -> Row:
    return Row("POST", f"{API}/{path}", {"content": content, "headers": headers}, code, words)


def form(head: bytes, data: bytes = b"x", kind: str = "multipart/form-data; boundary=b") -> dict[str, Any]:
    body = b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n--b--\r\n"
    return {"content": body, "headers": {"Content-Type": kind}}


# -- paths, wherever one is taken ------------------------------------------------------------------

BAD_PATHS = {
    "../x": "'..'",
    "a/./b": "'.'",
    "/a": "begin",
    "a//b": "empty segment",
    "a\\b": "backslash",
    "a\nb": "control character",
    "a\0b": "control character",
    "a\x85b": "control character",
    "e\u0301": "normal form C",
    "x" * 201: "201 bytes; at most 200",
    "/".join(["x" * 100] * 9): "at most 900",
    "a.meta.json": "sidecar",
    "a.Meta.JSON/b": "sidecar",
}
IN_BODIES = [("replay", REPLAY, "from_stage"), ("replay", REPLAY, "from_path")]
IN_QUERIES = [("storage/objects", {"execution_id": "RUN"}, "stage")]
IN_QUERIES += [("storage/objects", {"execution_id": "RUN", "stage": "shouted"}, "path")]
KEYS = ["storage/objects/content", "storage/objects/metadata"]


def of_paths() -> Iterator[Row]:
    for path, why in BAD_PATHS.items():
        for where, body, name in IN_BODIES:
            yield post(where, body | {name: path}, "invalid_path", name, why)
        yield post("configs/docs/run", {"payload": 1, "path": path}, "invalid_path", why)
        for where, query, name in IN_QUERIES:
            yield get(where, "invalid_path", name, why, **query, **{name: path})
        for where in KEYS:
            yield get(where, "invalid_path", "key", key=f"RUN/shouted/{path}")
        yield get("lineage", "invalid_path", "key", object_key=f"RUN/shouted/{path}")
        if not set(path) & set('"\r\n\0'):  # a header can't hold these
            sent = form(f'name="files"; filename="{path}"'.encode())
            yield Row("POST", f"{API}/configs/docs/run", sent, "invalid_path", ("file name", why))
    for other in (b"\xff.txt", b"\xed\xa0\x80", "é".encode("latin-1")):
        sent = form(b'name="files"; filename="' + other + b'"')
        yield Row("POST", f"{API}/configs/docs/run", sent, "invalid_path", ("file name", "UTF-8"))
    for url in (
        *("storage/objects?execution_id=RUN&stage=%FF", "storage/objects?execution_id=RUN&path=%ED%A0%80"),
        *("storage/objects/content?key=RUN/shouted/%FF", "storage/objects/metadata?key=RUN/shouted/%FF"),
        *("lineage?object_key=RUN/shouted/%FF", "search?index=%FF&words=x", "executions?tag=%FF"),
        *("configs/%FF", "configs/%C3%28/versions", "executions?%FF=1"),
    ):
        yield get(url, "invalid_path", "UTF-8", "percent-encode")
    yield post("replay", REPLAY | {"from_path": "/"}, "invalid_path", "from_path", "empty segment")
    yield get("storage/objects", "invalid_path", "needs a stage", execution_id="RUN", path="a")
    for key in ("", "RUN", "RUN/shouted", "shouted/a.txt", "PLAIN/shouted/a.txt", "UPPER/shouted/a.txt"):
        for where in KEYS:
            yield get(where, "invalid_path", "{execution_id}/{stage}/{path}" if key else "empty", key=key)
    for index, why in {
        "../playhead.db": "data folder",
        "/etc/passwd": "data folder",
        "a\\b": "backslash",
        "x" * 300: "cannot be a file",
        "a\nb": "name a file",
    }.items():
        yield get("search", "invalid_path", "index path", why, index=index, words="x")


# -- names of things that are not there ------------------------------------------------------------

OF_AN_EXECUTION = ("", "/dag", "/routes", "/code", "/stages", "/replays", "/lineage")


def of_names() -> Iterator[Row]:
    for identity in ("UNKNOWN", "NIL"):
        for part in OF_AN_EXECUTION:
            yield get(f"executions/{identity}{part}", "execution_not_found", identity)
        yield post(f"executions/{identity}/cancel", None, "execution_not_found", identity)
        yield post(
            "replay", REPLAY | {"from_execution_id": identity}, "execution_not_found", identity, "playhead"
        )
        yield get("storage/objects", "execution_not_found", identity, execution_id=identity)
        yield get("replays", "execution_not_found", identity, from_execution_id=identity)
        yield get("dead-letters", "execution_not_found", identity, execution_id=identity)
        yield post("dead-letters/resend", {"execution_id": identity}, "execution_not_found", identity)
        yield get(f"replays/{identity}", "replay_not_found", identity)
        yield get(f"replay/plans/{identity}", "plan_not_found", identity)
        yield get(f"replay/plans/{identity}/objects", "plan_not_found", identity)
        yield post("replay", {"plan_id": identity}, "plan_not_found", identity, "Make a new plan")
        yield get(f"lineage/batch/{identity}", "replay_not_found", identity)
        yield get(f"lineage/{identity}", "message_not_found", identity)
        yield get(f"lineage/{identity}/chain", "message_not_found", identity)
        yield get(f"lineage/{identity}/chain/summary", "message_not_found", identity)
        yield get(f"dead-letters/{identity}", "dead_letter_not_found", identity)
        yield post(f"dead-letters/{identity}/resend", None, "dead_letter_not_found", identity)
        yield get("storage/objects/content", "object_not_found", identity, key=f"{identity}/shouted/a.txt")
        yield get("storage/objects/metadata", "object_not_found", identity, key=f"{identity}/s/a.txt")
        for way in ("", "/chain", "/counts"):
            yield get(f"lineage{way}", "object_not_found", identity, object_key=f"{identity}/shouted/a.txt")
        yield get(f"lineage/{identity}/counts", "message_not_found", identity)
    yield get(f"causes/{'0' * 12}", "cause_not_found", "0" * 12)
    yield post(f"causes/{'0' * 12}/unacknowledge", None, "cause_not_found", "0" * 12)
    yield post(f"causes/{'0' * 12}/plan", None, "cause_not_found", "0" * 12)
    # Valid, but not a dead letter: a completed message.
    yield get("dead-letters/MESSAGE", "dead_letter_not_found", "MESSAGE")
    for stage in ("shout", "Shouted", "shouted/deeper", "\ufffd"):
        yield post("replay", REPLAY | {"from_stage": stage}, "stage_not_found", stage, "shouted")
        yield get("storage/objects", "stage_not_found", stage, "shouted", execution_id="RUN", stage=stage)
    empty = REPLAY | {"from_execution_id": "REPLAYED"}
    yield post("replay", empty, "no_objects", "REPLAYED/shouted", "playhead replay RUN shouted")
    yield post("replay", REPLAY | {"from_path": "zzz"}, "no_objects", "zzz", "playhead ls")
    yield post("replay", REPLAY | {"from_path": "a"}, "no_objects", "shouted/a", "playhead ls")
    yield post("replay", REPLAY | {"include": ["none"]}, "selection_empty", "RUN/shouted", "do not meet")
    alien = {"only": "failed", "in_replay": "UNKNOWN"}
    yield post("replay", REPLAY | alien, "replay_not_found", "execution RUN has no replay UNKNOWN")
    yield post("replay", REPLAY | {"config_version": 9}, "config_not_found", "no version 9", "config list")
    yield post("replay", REPLAY | {"to_route": "theirz"}, "route_not_found", "theirz", "theirs")
    yield post("replay", REPLAY | {"to_route": "docs/nowhere"}, "route_not_found", "nowhere", "shout, both")
    yield post("replay", REPLAY | {"to_route": "none/theirs"}, "route_not_found", "no config is named 'none'")
    for target in ("docs/", "/theirs", "a/b/c"):
        yield post("replay", REPLAY | {"to_route": target}, "route_not_found")
    yield post("replay", REPLAY | {"to_route": "idle/both"}, "config_inactive", "idle", "activate")
    other = {"plan_id": "PLAN", "from_path": "a.txt"}
    yield post("replay", other, "plan_mismatch", "from_path is 'a.txt', but None", "make a new plan")
    yield post("replay", {"plan_id": "CHANGED"}, "plan_changed", "1 gone", "shouted/external.txt", "new plan")
    for field, value, code in (
        *(("from_path", "zzz", "no_objects"), ("include", ["none"], "selection_empty")),
        *(("from_stage", "none", "stage_not_found"), ("to_route", "none", "route_not_found")),
        *(("config_version", 7, "config_not_found"), ("from_path", "../x", "invalid_path")),
        ("from_execution_id", "UNKNOWN", "execution_not_found"),
    ):
        yield post("replay/plan", REPLAY | {field: value}, code)
    yield post(
        "replay", REPLAY | {"effects": {"nowhere": "skip"}}, "route_not_found", "nowhere", "shout, both"
    )
    yield post(
        "replay", REPLAY | {"effects": "skip"}, "effects_refused", "theirs (effects: skip", "the target"
    )
    reaching = REPLAY | {"from_stage": "input", "to_route": "shout"}
    for effects in ("refuse", {"*": "skip", "both": "refuse"}):
        yield post(
            "replay", reaching | {"effects": effects}, "effects_refused", "both (effects: refuse in the"
        )
    yield get("configs/docs/dag", "route_not_found", "shoud", "Did you mean 'shout'", focus="shoud")
    for way in ("", "/versions", "/dag"):
        yield get(f"configs/none{way}", "config_not_found", "none")
    yield get("configs/docs/versions/9", "config_not_found", "9")
    for way in ("activate", "deactivate"):
        yield post(f"configs/none/{way}", None, "config_not_found", "none")
    for name, fault in (("x" * 1025, "at most 1024"), ("a%00b", "string_pattern_mismatch")):
        yield get(f"configs/{name}", SHAPE, "name", fault)
        for way in ("activate", "deactivate"):
            yield post(f"configs/{name}/{way}", None, SHAPE, "name", fault)
    yield post("configs/none/run", {"payload": 1}, "config_not_found", "none", "playhead config list")
    yield post("configs/docs/run", {"payload": 1, "config_version": 9}, "config_not_found", "version 9")
    yield post("configs/idle/run", {"payload": 1}, "config_inactive", "idle", "playhead config activate")
    for since, code, *words in (
        ("REPLAYED", "not_comparable", "REPLAYED", "replay of config 'docs'", "previous:docs"),
        ("UNKNOWN", "execution_not_found", "UNKNOWN", "playhead executions"),
        ("previous:none", "execution_not_found", "no run of config 'none'", "without --changed-since"),
    ):
        yield post("configs/docs/run", {"payload": 1, "changed_since": since}, code, *words)
    yield post(
        "configs/other/run", {"payload": 1, "changed_since": "RUN"}, "not_comparable", "previous:other"
    )
    yield Row("POST", f"{API}/configs/idle/run", form(b'name="files"; filename="a"'), "config_inactive", ())
    yield get("executions/RUN/diff/UNKNOWN", "execution_not_found", "UNKNOWN")
    yield get("executions/RUN/result/UNKNOWN", "execution_not_found", "UNKNOWN")
    yield get("executions/RUN/diff/REPLAYED", "stage_not_found", "shoutd", "Did you mean", stage="shoutd")
    yield get("search", "index_not_found", "none.db", "run a route", index="none.db", words="x")
    yield post("queues/docs.theirs/remove", {"receipt": "none"}, "receipt_not_found")
    for path in ("nowhere", "replays/", "configs//run", "executions/RUN/nowhere"):
        yield get(path, "not_found", "/docs")


# -- invalid ids and cursors -----------------------------------------------------------------------

MALFORMED = ("x", "RUN0", "g1890000-0000-7000-8000-000000000000", "newest", "abc", "0189--0000", "latest:")
TAKES_AN_ID = (
    *("executions/{}", "executions/{}/stages", "executions/{}/routes", "executions/{}/lineage"),
    *("executions/{}/diff/RUN", "executions/RUN/diff/{}", "executions/RUN/diff/{}/objects"),
    *("executions/{}/result/RUN", "executions/RUN/result/{}/groups", "executions/RUN/result/{}/objects"),
    *("replays/{}", "lineage/{}", "lineage/{}/chain", "lineage/batch/{}", "dead-letters/{}"),
    *("replays?from_execution_id={}", "executions?parent={}", "dead-letters?execution_id={}"),
    *("storage/objects?execution_id={}", "search?index=a.db&words=x&execution={}"),
)
LISTS = (
    *("executions", "configs", "configs/docs/versions", "routes", "replays", "dead-letters", "adapters"),
    *("executions/RUN/lineage", "executions/RUN/replays", "storage/objects?execution_id=RUN"),
    "executions/RUN/diff/RUN/objects",
    *("executions/RUN/result/RUN/groups", "executions/RUN/result/RUN/objects"),
)


def of_ids() -> Iterator[Row]:
    for identity in MALFORMED:
        for path in TAKES_AN_ID:
            yield get(path.format(identity), SHAPE, "uuid_parsing")
        yield post(f"executions/{identity}/cancel", None, SHAPE, "uuid_parsing")
        yield post(f"dead-letters/{identity}/resend", None, SHAPE, "uuid_parsing")
        yield post("replay", REPLAY | {"from_execution_id": identity}, SHAPE, "from_execution_id", "uuid")
        yield post("dead-letters/resend", {"execution_id": identity}, SHAPE, "execution_id", "uuid_parsing")
        yield post("dead-letters/resend", {"correlation_ids": [identity]}, SHAPE, "correlation_ids", "uuid")
    wrong: tuple[Any, ...] = (None, 7, [], {})
    for value in wrong:
        yield post("replay", REPLAY | {"from_execution_id": value}, SHAPE, "from_execution_id", "uuid_type")
    for path in LISTS:
        sign = "&" if "?" in path else "?"
        for cursor in ("!", "RUN", "x" * 5000, "bnVsbA", "WzEsMl0", "%00", "MQ"):
            yield get(f"{path}{sign}cursor={cursor}", "invalid_cursor", "next_cursor")
        for limit in ("0", "1001", "-1", "x", "1e3", "9" * 40):
            yield get(f"{path}{sign}limit={limit}", SHAPE, "limit")


# -- values of queries -----------------------------------------------------------------------------

_TIMES = ("yesterday", "2026-01-31", "24h", "-24y", "")
_SIZES = ("0", "-1", "1048577", "x", "")
QUERIES: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("executions", "since", _TIMES, "is not a time: write RFC 3339 with an offset"),
    ("executions", "until", _TIMES, "is not a time: write RFC 3339 with an offset"),
    ("executions", "status", ("done",), "literal_error"),
    ("executions", "kind", ("x",), "literal_error"),
    ("executions", "stauts", ("failed",), "known parameters: status, config, kind, tag, since, until"),
    ("executions/RUN/lineage", "status", ("failed",), "literal_error"),
    ("executions/RUN/diff/RUN/objects", "state", ("other",), "literal_error"),
    ("executions/RUN/diff/RUN", "stage", ("",), "too_short"),
    ("executions/RUN/diff/RUN", "by", ("name",), "literal_error"),
    ("executions/RUN/result/RUN/objects", "after", ("done",), "literal_error"),
    ("executions/RUN/result/RUN/objects", "folder", ("",), "too_short"),
    ("executions/RUN/result/RUN/groups", "by", ("route",), "literal_error"),
    ("lineage/MESSAGE/chain", "direction", ("sideways",), "literal_error"),
    ("lineage/MESSAGE/chain", "limit", ("0",), "greater"),
    ("storage/objects/content?key=RUN/shouted/a.txt", "limit", _SIZES, "limit"),
)


def of_queries() -> Iterator[Row]:
    for path, name, values, why in QUERIES:
        sign = "&" if "?" in path else "?"
        for value in values:
            yield get(f"{path}{sign}{name}={value}", SHAPE, name, why)
    yield get("lineage", SHAPE, "object_key", "missing")
    yield post("executions/RUN/cancel?dry_run=true", None, SHAPE, "dry_run", "extra_forbidden")
    for number in ("0", "-1", "x", str(2**40)):
        yield get(f"configs/docs/versions/{number}", SHAPE, "version")
    for limit in (0, 1001):
        yield post("queues/docs.theirs/take", {"limit": limit}, SHAPE, "limit")
    yield post("queues/docs.theirs/take", {"limits": 1}, SHAPE, "limits", "extra_forbidden")
    yield post("queues/a%20b/take", {"limit": 1}, SHAPE, "queue")
    yield post("queues/docs.theirs/remove", {}, SHAPE, "receipt", "missing")
