"""Requests that can't be right: the status, the code, and words that say what, where and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from playhead.api.errors import STATUS
from playhead.api.limits import SELECTION
from tests.acceptance.bad_input.ground import MAX_BODY, MAX_OBJECT, MAX_UPLOAD, USED_KEY, Ground, filled

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


def _paths() -> Iterator[Row]:
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


def _unknown() -> Iterator[Row]:
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
        yield get("lineage", "object_not_found", identity, object_key=f"{identity}/shouted/a.txt")
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
    yield post("replay", REPLAY | {"to_route": "idle/both"}, "config_inactive", "idle", "activate")
    other = {"plan_id": "PLAN", "from_path": "a.txt"}
    yield post("replay", other, "plan_mismatch", "from_path is 'a.txt', but None", "make a new plan")
    yield post("replay", {"plan_id": "CHANGED"}, "plan_changed", "1 gone", "shouted/external.txt", "new plan")
    yield post("replay/plan", REPLAY | {"from_path": "zzz"}, "no_objects", "zzz", "playhead ls")
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
    *("replays/{}", "lineage/{}", "lineage/{}/chain", "lineage/batch/{}", "dead-letters/{}"),
    *("replays?from_execution_id={}", "executions?parent={}", "dead-letters?execution_id={}"),
    *("storage/objects?execution_id={}", "search?index=a.db&words=x&execution={}"),
)
LISTS = (
    *("executions", "configs", "configs/docs/versions", "routes", "replays", "dead-letters", "adapters"),
    *("executions/RUN/lineage", "executions/RUN/replays", "storage/objects?execution_id=RUN"),
    "executions/RUN/diff/RUN/objects",
)


def _ids() -> Iterator[Row]:
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


# -- bodies ----------------------------------------------------------------------------------------

DEEP = 100_000
BODIES = ("replay", "configs", "configs/validate", "configs/docs/run", "dead-letters/resend")
CONTROL = ("pause", "resume", "cancel", "retry")
PACES: tuple[Any, ...] = (
    {},
    {"rate": 0},
    {"rate": 2e6},
    {"rate": "1"},
    {"queue_depth": 0.5},
    {"rate": 1, "queue_depth": 1},
    7,
)
NOT_JSON = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1" * 5000, b'"\\ud800"', b'{"a": ["\\udfff"]}'),
    *(b"[1,]", b"nul"),
)


def _text(**fields: bytes) -> bytes:
    known = {name: json.dumps(value).encode() for name, value in REPLAY.items()} | fields
    return b"{" + b", ".join(f'"{name}": '.encode() + value for name, value in known.items()) + b"}"


def _bodies() -> Iterator[Row]:
    for value in NOT_JSON:
        yield raw("replay", _text(from_path=value), JSON, SHAPE, "json_invalid")
        yield raw("configs/docs/run", b'{"payload": ' + value + b"}", JSON, SHAPE, "json_invalid")
        yield raw("dead-letters/resend", b'{"route": ' + value + b"}", JSON, SHAPE, "json_invalid")
    for path in BODIES:
        yield raw(path, b'{"a": "\xff"}', JSON, "invalid_body", "UTF-8", "byte 7")
        yield raw(path, '{"a": "é"}'.encode("utf-16"), JSON, "invalid_body", "UTF-8")
        yield raw(path, b"[" * DEEP + b"]" * DEEP, JSON, "invalid_body", "200 levels")
        yield raw(path, b'{"a":' * DEEP + b"1" + b"}" * DEEP, JSON, "invalid_body", "200 levels")
        most = MAX_BODY * SELECTION if path in ("replay", "replay/plan") else MAX_BODY
        yield raw(path, b"a" * (most + 1), JSON, "body_too_large", str(most), "PLAYHEAD_MAX_BODY")
        yield raw(path, b"{}", TEXT, "unsupported_media_type", "text/plain", "application/json")
        yield raw(path, b"{}", {}, "unsupported_media_type", "(none)", "application/json")
        yield post(path, {"no_such_field": 1}, SHAPE, "no_such_field", "extra_forbidden")
        yield raw(path, b"", JSON, SHAPE)
        yield post(path, [], SHAPE)
    for name in ("from_pth", "dry_run"):
        yield post("replay", REPLAY | {name: "a"}, SHAPE, name, "extra_forbidden")
    for name in REPLAY:
        yield post("replay", {k: v for k, v in REPLAY.items() if k != name}, SHAPE, name, "missing")
        for other in ("", None, 1):
            yield post("replay", REPLAY | {name: other}, SHAPE, name)
    yield post("replay", REPLAY | {"from_path": 1}, SHAPE, "from_path", "string_type")
    yield post("replay", REPLAY | {"include": ["a//b"]}, SHAPE, "include", "empty segment")
    yield post("replay", REPLAY | {"modified_after": "24h"}, SHAPE, "modified_after", "as in -24h")
    yield post("replay", REPLAY | {"content_type": ["text"]}, SHAPE, "content_type", "not a media type")
    yield post("replay", REPLAY | {"exclude": []}, SHAPE, "exclude", "too_short")
    yield post("replay/plan", REPLAY | {"plan_id": "PLAN"}, SHAPE, "plan_id", "extra_forbidden")
    yield post("replay/plan", REPLAY | {"pace": {"rate": 0}}, SHAPE, "pace", "0.01")
    values: tuple[Any, ...] = ("never", "", 1, {}, {"both": None}, {"both": "never"}, ["skip"])
    for value in values:
        yield post("replay", REPLAY | {"effects": value}, SHAPE, "effects")
    hook = {"webhook": "https://hooks.example/"}
    yield post("replay", REPLAY | hook, "webhook_not_allowed", "PLAYHEAD_WEBHOOK_HOSTS")
    for url in (1, "a" * 2_001, "https://hooks.example/\0"):
        yield post("replay", REPLAY | {"webhook": url}, SHAPE, "webhook")
    yield post(
        "dead-letters/resend", {}, "selection_empty", "an execution, a route, an error code or a group"
    )
    yield post("dead-letters/resend", {"failed_before": "-1h"}, "selection_empty")
    for group in ("", "x", "0" * 13, "A" * 12, 1):
        yield post("dead-letters/resend", {"group": group}, SHAPE, "group")
    for time in ("", "yesterday", "2026-01-31T18:00:00", 1):
        yield post("dead-letters/resend", {"group": "0" * 12, "failed_before": time}, SHAPE, "failed_before")
    yield post("dead-letters/resend", {"correlation_ids": []}, "selection_empty")
    yield post("configs/docs/run", {"payload": 1, "config_version": 2**40}, SHAPE, "config_version")
    for tag in ("", "x" * 201, "a\nb", "\0"):
        yield post("configs/docs/run", {"payload": 1, "tags": [tag]}, SHAPE, "tags")
    big = form(b'name="files"; filename="a"', b"x" * (MAX_UPLOAD + 1))
    yield Row(
        "POST", f"{API}/configs/docs/run", big, "body_too_large", ("PLAYHEAD_MAX_UPLOAD", "several runs")
    )
    large = form(b'name="files"; filename="a"', b"x" * (MAX_OBJECT + 1))
    yield Row(
        *("POST", f"{API}/configs/docs/run", large, "body_too_large"),
        (f"larger than {MAX_OBJECT} bytes", "PLAYHEAD_MAX_OBJECT_BYTES"),
    )
    yield post("configs/docs/run", {"payload": "x" * MAX_OBJECT}, "body_too_large", "PLAYHEAD_MAX_OBJECT")
    for head, code, word in (
        (b'name="nothing"', SHAPE, "nothing"),
        (b'name="files"', SHAPE, "files"),  # a field, no file
        (b'name="files"; filename=""', "invalid_path", "empty segment"),
        (b'name="config_version"', SHAPE, "config_version"),
    ):
        yield Row("POST", f"{API}/configs/docs/run", form(head), code, (word,))
    twice = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\ny\r\n--b--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    yield raw("configs/docs/run", twice, kind, "invalid_path", "'a'", "two files")
    empty = b"--b--\r\n"
    yield raw("configs/docs/run", empty, kind, "selection_empty", "at least one file")
    for sent in ({"Content-Type": "multipart/form-data"}, kind):
        yield raw("configs/docs/run", b"no form", sent, "invalid_body")
    yield raw("configs", b"a: [", YAML, "config_invalid", "1:5", "E001")
    yield post("configs", {"source": "a: ["}, "config_invalid", "1:5", "E001")
    yield Row("GET", f"{API}/replay", {}, "method_not_allowed", ("GET", "POST"))
    for method, path, allowed in (
        ("DELETE", "configs/docs", "GET, HEAD"),
        ("PUT", "configs", "GET, HEAD, POST"),
        ("POST", "executions/RUN", "GET, HEAD"),
        ("PATCH", "dead-letters/RUN/resend", "POST"),
        ("GET", "configs/docs/run", "POST"),
    ):
        yield Row(method, f"{API}/{path}", {}, "method_not_allowed", (method, allowed))


# -- control of replays, and repeated requests -----------------------------------------------------


def _managed() -> Iterator[Row]:
    for key in ("", "a b", "x" * 256):
        sent = {"json": REPLAY | {"from_path": "/"}, "headers": {"Idempotency-Key": key}}
        words = (f"{len(key.strip())} characters", "1 to 255", "UUID")
        yield Row("POST", f"{API}/replay", sent, "invalid_idempotency_key", words)
    used = {"json": REPLAY | {"reason": "other"}, "headers": {"Idempotency-Key": USED_KEY}}
    yield Row("POST", f"{API}/replay", used, "idempotency_key_reused", (USED_KEY, "BATCH"))
    for pace in PACES:
        yield post("replay", REPLAY | {"pace": pace}, SHAPE, "pace")
        yield Row("PUT", f"{API}/replays/BATCH/pace", {"json": pace}, SHAPE, ())
    yield Row("PUT", f"{API}/replays/BATCH/pace", {}, SHAPE, ("missing", "null removes"))
    for reason in ("x" * 1001, "a\0b", 7):
        yield post("replay", REPLAY | {"reason": reason}, SHAPE, "reason")
    for identity in ("UNKNOWN", "NIL"):
        for what in CONTROL:
            yield post(f"replays/{identity}/{what}", None, "replay_not_found", identity)
        paced = {"json": {"rate": 1}}
        yield Row("PUT", f"{API}/replays/{identity}/pace", paced, "replay_not_found", (identity,))
    for what in ("pause", "resume", "cancel"):
        yield post(f"replays/BATCH/{what}", None, "replay_ended", "has ended", "playhead replays retry BATCH")
    yield Row("PUT", f"{API}/replays/BATCH/pace", {"json": {"rate": 1}}, "replay_ended", ("BATCH",))
    yield post("replays/BATCH/cancel", {"withdrawn": True}, SHAPE, "withdrawn", "extra_forbidden")
    yield raw("replays/BATCH/cancel", b"{}", TEXT, "unsupported_media_type", "text/plain")


# -- datasets --------------------------------------------------------------------------------------

SHOWN = "datasets/shown"
SPARE = "datasets/unseen?config=spare"
OF_A_DATASET = ("", "/publications", "/publications/1", "/switches", "/notes", "/objects", "/changes?since=0")
OF_A_PUBLICATION = ("/notes?at=9", "/objects?at=9", "/changes?since=9", "/changes?since=0&until=9")
CHANGING = ("publications/1/cancel", "publications/1/pin", "publications/1/unpin", "rollback", "release")


def _publish(code: str, *words: str, to: str = SHOWN, executions: tuple[str, ...] = (), **more: Any) -> Row:
    path, sign, query = to.partition("?")
    return post(f"{path}/publications{sign}{query}", {"executions": list(executions), **more}, code, *words)


def _datasets() -> Iterator[Row]:
    for name, code, words in (
        ("shwon", "dataset_not_found", ("no dataset 'shwon'", "docs/shown, spare/unseen, twin/unseen")),
        ("unseen", "dataset_ambiguous", ("2 configs", "spare/unseen, twin/unseen")),
    ):
        for part in (*OF_A_DATASET, "/content/shouted/a.txt"):
            yield get(f"datasets/{name}{part}", code, *words)
        for part in CHANGING:
            yield post(f"datasets/{name}/{part}", None, code, *words)
        yield _publish(code, *words, to=f"datasets/{name}", executions=("RUN",))
    yield get(SHOWN, "dataset_not_found", "other/shown", config="other")
    yield get("executions/current:shwon", "dataset_not_found", "docs/shown")
    yield get("executions/current:unseen", "dataset_ambiguous", "spare/unseen")
    missing = ("publication_not_found", "no publication 9", "newest is 1")
    for part in ("/publications/9", *OF_A_PUBLICATION, "/content/shouted/a.txt?at=9"):
        yield get(f"{SHOWN}{part}", *missing)
    for verb in ("cancel", "pin", "unpin"):
        yield post(f"{SHOWN}/publications/9/{verb}", None, *missing)
    yield post(f"{SHOWN}/rollback", {"to": 9}, *missing)
    yield get("executions/current:shown@9", *missing)
    yield get("storage/objects/content", "publication_not_found", "'x'", key="current:shown@x/shouted/a.txt")
    for part in ("notes", "objects", "changes?since=0", "content/shouted/a.txt"):
        sign = "&" if "?" in part else "?"
        words = ("no current publication", "playhead publish")
        yield get(f"datasets/unseen/{part}{sign}config=spare", "nothing_published", *words)
    yield post("datasets/unseen/rollback?config=spare", {}, "nothing_published", "playhead publish")
    yield post(f"{SHOWN}/rollback", {}, "nothing_published", "before 1", "playhead publications")
    yield get(f"{SHOWN}/content/shouted/none.txt", "object_not_found", "none.txt")
    yield get(f"{SHOWN}/content/shouted/a//b", "invalid_path", "empty segment")
    yield get(f"{SHOWN}/objects", "stage_not_found", "shout", stage="shout")
    yield get(f"{SHOWN}/objects", "invalid_path", "needs a stage", path="a.txt")
    for part in ("publications", "notes", "objects", "changes?since=0"):
        sign = "&" if "?" in part else "?"
        for cursor in ("!", "RUN", "1", "0.x", "9" * 40, "MQ"):
            yield get(f"{SHOWN}/{part}{sign}cursor={cursor}", "invalid_cursor", "next_cursor")
    for number in ("0", "-1", "x", "9" * 40):
        yield get(f"{SHOWN}/publications/{number}", SHAPE, "path")
        yield get(f"{SHOWN}/notes", SHAPE, "at", at=number)
    yield get(f"{SHOWN}/changes", SHAPE, "since", "missing")

    yield _publish("execution_not_found", "UNKNOWN", executions=("UNKNOWN",))
    yield _publish("not_a_base", "it is a publication", executions=("PUBLICATION",))
    yield _publish("not_a_base", "another config than spare", to=SPARE, executions=("RUN",))
    yield _publish("not_a_base", "2 runs are named", "--base", executions=("RUN", "OLDER"))
    yield _publish("not_a_base", "does not define the inputs", executions=("RUN",), base="REMOVED")
    yield _publish("older_results", "older than the run", "--allow-older", executions=("OLDER",))
    yield _publish("publication_moved", "switch 1", "expects switch 9", executions=("RUN",), expect_seq=9)
    yield post(f"{SHOWN}/rollback", {"expect_seq": 9}, "publication_moved", "switch 1", "expects switch 9")
    yield _publish(
        *("publication_shrinks", "1 of 2 inputs", "--allow-removed"),
        executions=("OLDER",),
        allow=["older"],
        dry_run=True,
    )
    yield _publish(
        "source_not_published", "its source is execution OLDER", executions=("REMOVED",), dry_run=True
    )
    yield _publish(
        "source_superseded", "1 of 1", "--skip-superseded", executions=("SUPERSEDED",), dry_run=True
    )
    fields: tuple[tuple[str, Any], ...] = (
        *(("base", "x"), ("add", ["x"]), ("on_failure", "never"), ("allow", ["all"]), ("expect_seq", -1)),
        *(("reason", "x" * 1001), ("reason", "a\0b"), ("dry_run", 1.5), ("automatic", True)),
    )
    for name, value in fields:
        yield _publish(SHAPE, name, executions=("RUN",), **{name: value})
    yield _publish(SHAPE, "at least one execution")
    yield _publish(SHAPE, "too_long", executions=("RUN",) * 101)
    for name, value in (("to", 0), ("to", 2**64), ("expect_seq", -1), ("reason", "a\0b"), ("no_such", 1)):
        yield post(f"{SHOWN}/rollback", {name: value}, SHAPE, name)
    yield raw(f"{SHOWN}/publications", b"{}", TEXT, "unsupported_media_type", "text/plain")


ROWS = [*_paths(), *_unknown(), *_ids(), *_bodies(), *_managed(), *_datasets()]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_invalid_request_is_refused_and_changes_nothing(ground: Ground, row: Row):
    sent = filled(row.sent, ground)
    headers = {"X-Correlation-ID": "asked.by-me_1", **sent.pop("headers", {})}
    answer = ground.request(row.method, row.path, {**sent, "headers": headers})

    body = answer.json()
    assert answer.status_code == (422 if row.code == SHAPE else STATUS[row.code]), body
    assert answer.headers["X-Correlation-ID"] == "asked.by-me_1"
    assert answer.headers["Content-Type"] == "application/json"
    if row.code == SHAPE:
        assert set(body) == {"detail"}
        assert all({"type", "loc", "msg"} <= set(fault) for fault in body["detail"])
        detail = json.dumps(body["detail"])
    else:
        detail = body["detail"]
        assert body["error_code"] == row.code, detail
        assert body["correlation_id"] == "asked.by-me_1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["timestamp"])
        assert ("diagnostics" in body) == (row.code == "config_invalid")
    assert "Traceback" not in answer.text
    assert 'File \\"' not in answer.text
    missing = [word for word in map(ground.said, row.words) if word not in detail]
    assert not missing, detail
    if row.code == "method_not_allowed":
        assert answer.headers["Allow"] in row.words
    ground.nothing_was_left()


@pytest.mark.parametrize("path", TAKES_AN_ID)
def test_an_id_may_be_spelt_in_every_way(ground: Ground, path: str):
    of = {
        "replays/{}": "BATCH",
        "lineage/batch/{}": "BATCH",
        "lineage/{}": "MESSAGE",
        "lineage/{}/chain": "MESSAGE",
    }
    identity = ground.said(of.get(path, "RUN"))
    spelt = (identity, f"urn:uuid:{identity}", identity.upper(), identity.replace("-", ""))
    answers = [ground.request("GET", f"{API}/{path.format(each)}", {}) for each in spelt]
    codes = {answer.status_code for answer in answers}
    assert codes == ({404} if path.startswith(("dead-letters/", "search")) else {200})
    bodies = [
        {k: v for k, v in a.json().items() if k not in ("correlation_id", "timestamp")} for a in answers
    ]
    assert bodies == [bodies[0]] * len(spelt)


def test_every_code_of_a_wrong_request_has_a_row():
    """Except the codes of unavailable backends, of internal errors, and of states that other tests create."""
    elsewhere = {"invalid_request", "host_not_allowed", "cross_origin", "too_many_connections", "queue_taken"}
    elsewhere |= {"body_too_slow", "server_busy", "catalog_damaged", "id_ambiguous"}
    elsewhere |= {"code_differs", "stage_pruned", "object_pruned", "execution_pruned", "records_deleted"}
    elsewhere |= {"internal", "store_full", "replay_continues", "route_ambiguous", "execution_ended"}
    elsewhere |= {"plan_expired", "plan_not_ready", "too_many_objects"}
    elsewhere |= {"report_not_found", "delivery_not_found", "sink_rows_missing", "sink_behind"}
    # `test_publications.py` and `test_datasets.py` have them.
    elsewhere |= {"publication_in_progress", "publication_cancelled", "publication_dropped", "path_conflict"}
    elsewhere |= {"publication_empty", "publication_incomplete", "units_failed", "execution_running"}
    elsewhere |= {"execution_changed"}
    elsewhere |= {code for code in STATUS if code.endswith("_unavailable")}
    assert {row.code for row in ROWS} - {SHAPE} >= set(STATUS) - elsewhere
