"""Rows for requests whose body cannot be right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from playhead.api.limits import SELECTION
from tests.acceptance.bad_input.ground import MAX_BODY, MAX_OBJECT, MAX_UPLOAD, USED_KEY
from tests.acceptance.bad_input.requests import (
    API,
    JSON,
    REPLAY,
    SHAPE,
    TEXT,
    YAML,
    Row,
    form,
    get,
    post,
    raw,
)

# -- bodies ----------------------------------------------------------------------------------------

DEEP = 100_000
BODIES = ("replay", "configs", "configs/validate", "configs/docs/run", "dead-letters/resend")
CONTROL = ("pause", "resume", "cancel", "retry")
PACES: tuple[Any, ...] = (
    {},
    {"rate": 0},
    {"rate": 2e6},
    {"rate": "1"},
    *({"rate": True}, {"rate": None}, {"queue_depth": 0}, {"queue_depth": 0.5}, {"queue_depth": 10**7}),
    *({"rate": 1, "queue_depth": 1}, {"rate": 1, "more": 1}, [], 7),
)
CANARIES: tuple[Any, ...] = (
    *({}, 5, [], {"max_failed": 1}, {"objects": 0}, {"objects": 10_001}, {"objects": 1.5}, {"objects": "5"}),
    *({"objects": 5, "max_failed": one} for one in (-1, 1.5, None, "1", True, 1e9)),
    *({"objects": 5, "seed": one} for one in (-1, 1.5, "1", True, 2**31)),
    {"objects": 5, "max_changed": 1},
)
GUARDS: tuple[Any, ...] = (
    *({}, 5, [], {"of_last": 5}, {"failed": -1}, {"failed": 1.5}, {"failed": "2%"}, {"failed": 1e9}),
    *({"failed": 1, "of_last": one} for one in (0, 10_001, 1.5, "5")),
)
NOT_JSON = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1" * 5000, b'"\\ud800"', b'{"a": ["\\udfff"]}'),
    *(b"[1,]", b"nul"),
)


def _text(**fields: bytes) -> bytes:
    known = {name: json.dumps(value).encode() for name, value in REPLAY.items()} | fields
    return b"{" + b", ".join(f'"{name}": '.encode() + value for name, value in known.items()) + b"}"


def of_bodies() -> Iterator[Row]:
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
    yield post("replay/plan", REPLAY | {"verify": "x"}, SHAPE, "verify")
    yield get("replay/plans/nonsense", SHAPE, "uuid_parsing")
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
    for pause in ({}, {"reason": ""}, {"reason": 5}, {"reason": "x" * 1001}, {"reason": "x", "seconds": 0.5}):
        yield post("routes/docs/shout/pause", pause, SHAPE, "seconds" if "seconds" in pause else "reason")
    yield post("routes/docs/both/pause", {"reason": "why"}, "route_external", "another program")
    for action, body in (("pause", {"reason": "why"}), ("resume", None)):
        yield post(f"routes/none/convert/{action}", body, "config_not_found", "none")
        yield post(f"routes/docs/nowhere/{action}", body, "route_not_found", "nowhere")
    acknowledge = f"causes/{'0' * 12}/acknowledge"
    yield post(acknowledge, {"reason": "known"}, "cause_not_found", "0" * 12)
    yield post(acknowledge, {"reason": ""}, SHAPE, "reason")
    for until in ("", "soon", "docs@", "docs@1", "2026-01-31"):
        yield post(acknowledge, {"reason": "known", "until": until}, "invalid_until", "until")
    yield post(acknowledge, {"reason": "known", "until": "none@2"}, "config_not_found", "none")
    yield post("dead-letters/resend", {"correlation_ids": []}, "selection_empty")
    selects_nothing: tuple[Any, ...] = ({}, {"execution_ids": []}, {"stages": ["shouted"]}, {"dry_run": True})
    for body in selects_nothing:
        yield post("prune", body, "selection_empty")
    # Without the condition, these would select more than the client meant.
    for name in ("config", "tag", "execution_ids", "stages", "keep_last"):
        yield post("prune", {name: None, "older_than_seconds": 0}, SHAPE, name)
    yield post("prune", {"stages": [], "older_than_seconds": 0}, SHAPE, "stages")
    for more in ({"stages": ["shouted"]}, {"keep_last": 1}):
        given = {"config": "docs", "records": True} | more
        yield post("prune", given, SHAPE, "leave out stages and keep_last")
    unknown: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"config": "none"}, "config_not_found", "docs"),
        ({"tag": "none"}, "execution_not_found", "none"),
        ({"older_than_seconds": 0, "stages": ["none"]}, "stage_not_found", "input, shouted"),
        ({"execution_ids": ["UNKNOWN"]}, "execution_not_found", "UNKNOWN"),
    )
    for body, code, known in unknown:
        for dry in (True, False):
            yield post("prune", body | {"dry_run": dry}, code, known)
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


def of_managed() -> Iterator[Row]:
    for key in ("", "a b", "x" * 256):
        sent = {"json": REPLAY | {"from_path": "/"}, "headers": {"Idempotency-Key": key}}
        words = (f"{len(key.strip())} characters", "1 to 255", "UUID")
        yield Row("POST", f"{API}/replay", sent, "invalid_idempotency_key", words)
    for changed in ({"reason": "other"}, {"from_path": "a.txt"}, {"pace": {"rate": 1}}):
        used = {"json": REPLAY | changed, "headers": {"Idempotency-Key": USED_KEY}}
        yield Row("POST", f"{API}/replay", used, "idempotency_key_reused", (USED_KEY, "BATCH"))
    for pace in PACES:
        yield post("replay", REPLAY | {"pace": pace}, SHAPE, "pace")
        yield Row("PUT", f"{API}/replays/BATCH/pace", {"json": pace}, SHAPE, ())
    yield Row("PUT", f"{API}/replays/BATCH/pace", {}, SHAPE, ("missing", "null removes"))
    fields = {
        "reason": ("x" * 1001, "a\0b", 7),
        "canary": CANARIES,
        "pause_if": GUARDS,
        "report": ("perhaps", 7),
    }
    for name, values in fields.items():
        for value in values:
            yield post("replay", REPLAY | {name: value}, SHAPE, name)
    for identity in ("UNKNOWN", "NIL"):
        for what in CONTROL:
            yield post(f"replays/{identity}/{what}", None, "replay_not_found", identity)
        paced = {"json": {"rate": 1}}
        yield Row("PUT", f"{API}/replays/{identity}/pace", paced, "replay_not_found", (identity,))
    for what in ("pause", "resume", "cancel"):
        yield post(f"replays/BATCH/{what}", None, "replay_ended", "has ended", "playhead replays retry BATCH")
    yield Row("PUT", f"{API}/replays/BATCH/pace", {"json": {"rate": 1}}, "replay_ended", ("BATCH",))
    for canary in (0, 10_001, "x", {"objects": 1}):
        yield post("replays/BATCH/resume", {"canary": canary}, SHAPE, "canary")
    yield post("replays/BATCH/cancel", {"withdrawn": True}, SHAPE, "withdrawn", "extra_forbidden")
    yield raw("replays/BATCH/cancel", b"{}", TEXT, "unsupported_media_type", "text/plain")
