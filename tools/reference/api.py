"""Generate `api.md`: every operation of the HTTP API, from its OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, cast

from playhead import __version__
from playhead.api.app import create_app
from playhead.api.callers import Hosts
from playhead.services import Services
from playhead.settings import Settings
from tools.reference import Parts, code, table
from tools.reference.schema import default, kind, name_of

JSON: Final = "application/json"
_MULTIPART: Final = "multipart/form-data"
_YAML: Final = "application/yaml"
EVENTS: Final = "text/event-stream"
#: Errors that every operation may return. The page lists them once.
OF_ALL: Final = frozenset({"internal", "catalog_unavailable"})

#: Values of parameters and fields in the examples. The page sets `$NAME` at its top.
_VALUES: Final[Mapping[str, str]] = {
    "execution_id": "$EXECUTION",
    "other_execution_id": "$REPLAY",
    "from_execution_id": "$EXECUTION",
    "replay_batch_id": "$BATCH",
    "plan_id": "$PLAN",
    "correlation_id": "$MESSAGE",
    "key": "$KEY",
    "object_key": "$KEY",
    "name": "docs",
    "version": "1",
    "queue": "docs.segment",
    "receipt": "none-yet",
    "index": "search.db",
    "words": "replay",
    "text": "docs",
    "from_stage": "markdown_converted",
    "to_route": "segment",
}


@dataclass(frozen=True, slots=True)
class Example:
    """How the example of an operation differs from the default example with all required values.

    Attributes:
        values: replace those of `_VALUES`.
        query: optional query parameters to add.
        body: the JSON body, instead of one with the required fields.
        status: the status of the answer if it is an error.
        is_early: the answer may be that error or a success, depending on how far background work is.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    status: int = 0
    is_early: bool = False


_SLOW: Final = {"replay_batch_id": "$SLOW"}
_PUBLISHED: Final = {"n": "1", "stage": "segments", "path": "index/0001.md", "since": "0"}
_DEAD: Final = Example({"correlation_id": "$DEAD"})
_ROUTE: Final = {"config": "docs", "route": "index"}
_CAUSE: Final = {"cause": "$CAUSE"}
_EXAMPLES: Final[Mapping[str, Example]] = {
    **{
        f"POST /api/v1/replays/{{replay_batch_id}}/{verb}": Example(_SLOW)
        for verb in ("pause", "resume", "retry")
    },
    "POST /api/v1/replays/{replay_batch_id}/cancel": Example(_SLOW, body='{"withdraw": true}'),
    "PUT /api/v1/replays/{replay_batch_id}/pace": Example(_SLOW, body='{"rate": 50}'),
    **{
        f"POST /api/v1/{owner}/deliveries/{{delivery_id}}/send": Example(
            {"delivery_id": "$EXECUTION"}, status=404
        )
        for owner in ("replays/{replay_batch_id}", "datasets/{name}")
    },
    "POST /api/v1/executions/{execution_id}/cancel": Example({"execution_id": "$REPLAY"}),
    "POST /api/v1/configs/{name}/activate": Example({"name": "other"}),
    "POST /api/v1/configs/{name}/deactivate": Example({"name": "other"}),
    "GET /api/v1/replays/{replay_batch_id}/report": Example(_SLOW),
    "POST /api/v1/replays/{replay_batch_id}/report/write": Example(_SLOW),
    "GET /api/v1/replays/{replay_batch_id}/report/lines": Example(_SLOW, status=404, is_early=True),
    **{
        f"{method} /api/v1/datasets/{{name}}/{rest}": Example(_PUBLISHED)
        for method, rest in (
            ("GET", "publications/{n}"),
            *(("POST", f"publications/{{n}}/{verb}") for verb in ("cancel", "pin", "unpin")),
            ("GET", "changes"),
            ("GET", "content/{stage}/{path}"),
        )
    },
    "POST /api/v1/datasets/{name}/publications": Example(body='{"executions": ["$EXECUTION"]}'),
    "POST /api/v1/datasets/{name}/rollback": Example(body='{"to": 1}'),
    "POST /api/v1/datasets/{name}/forget": Example(body='{"route": "segment"}', status=404),
    "GET /api/v1/executions": Example(query={"config": "docs", "limit": "10"}),
    "GET /api/v1/executions/{execution_id}/why": Example({"path": "guide/replay.html"}),
    "GET /api/v1/lineage": Example(query={"object_key": "$KEY"}),
    "GET /api/v1/lineage/{correlation_id}/chain": Example(query={"direction": "down"}),
    "GET /api/v1/storage/objects": Example(query={"execution_id": "$EXECUTION", "stage": "segments"}),
    "GET /api/v1/dead-letters/{correlation_id}": _DEAD,
    "POST /api/v1/dead-letters/{correlation_id}/resend": _DEAD,
    "POST /api/v1/routes/{config}/{route}/pause": Example(
        _ROUTE, body='{"reason": "the provider is down", "seconds": 7200}'
    ),
    "POST /api/v1/routes/{config}/{route}/resume": Example(_ROUTE),
    "GET /api/v1/affected": Example(query={"adapter": "html_to_markdown@1", "since": "-7d"}),
    "GET /api/v1/causes": Example(query={"since": "-24h", "limit": "10"}),
    "GET /api/v1/causes/{cause}": Example(_CAUSE),
    "POST /api/v1/causes/{cause}/acknowledge": Example(
        _CAUSE, body='{"reason": "fixed in 9", "requested_by": "ann", "until": "docs@9"}'
    ),
    "POST /api/v1/causes/{cause}/unacknowledge": Example(_CAUSE),
    "POST /api/v1/causes/{cause}/plan": Example(_CAUSE),
    "POST /api/v1/dead-letters/resend": Example(body='{"route": "index"}'),
    "POST /api/v1/dead-letters/resend/plan": Example(body='{"route": "index"}'),
    "POST /api/v1/prune": Example(body='{"older_than_seconds": 2592000, "keep_last": 5, "dry_run": true}'),
    "POST /api/v1/queues/{queue}/take": Example(body='{"limit": 10}'),
    "POST /api/v1/queues/{queue}/remove": Example(status=404),
    # An open server allows these to nobody.
    **{
        title: Example({"name": "ci-docs", "session": "Zk3vQ9aB"}, body=body, status=403)
        for title, body in (
            ("GET /api/v1/audit", ""),
            ("GET /api/v1/keys", ""),
            ("POST /api/v1/keys", '{"name": "ci-docs", "scopes": ["run"], "configs": ["docs"]}'),
            ("POST /api/v1/keys/{name}/rotate", '{"overlap": 3600}'),
            ("POST /api/v1/keys/{name}/revoke", ""),
            ("GET /api/v1/sessions", ""),
            ("POST /api/v1/sessions/{session}/revoke", ""),
        )
    },
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the OpenAPI description."""

    method: str
    path: str
    spec: Mapping[str, Any]

    @property
    def title(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def example(self) -> Example:
        return _EXAMPLES.get(self.title, Example())

    @property
    def bodies(self) -> Mapping[str, Mapping[str, Any]]:
        content: Mapping[str, Mapping[str, Any]] = self.spec.get("requestBody", {}).get("content", {})
        return {media: body.get("schema", {}) for media, body in content.items()}

    @property
    def statuses(self) -> list[int]:
        return sorted(int(status) for status in self.spec["responses"])

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return any(EVENTS in answer.get("content", {}) for answer in self.spec["responses"].values())


@cache
def description() -> Mapping[str, Any]:
    """Return the OpenAPI description that a server serves at `/openapi.json`."""
    settings = Settings()
    app = create_app(
        cast(Services, None),  # the description needs no service
        version=__version__,
        hosts=Hosts(loopback=True),
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
    )
    return app.openapi()


def operations() -> Iterator[Operation]:
    for path, methods in description()["paths"].items():
        for method, spec in methods.items():
            yield Operation(method.upper(), path, spec)


def _schemas() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = description()["components"]["schemas"]
    return found


def _is_page(schema: Mapping[str, Any]) -> bool:
    return set(schema.get("properties", ())) == {"items", "next_cursor"}


def _link(name: str) -> str:
    schema = _schemas()[name]
    if _is_page(schema):
        return f"page of {kind(schema['properties']['items']['items'], _link)}"
    return f"[{name}](#{name.lower()})"


# -- one operation ---------------------------------------------------------------------------------


def _operations() -> str:
    by_noun: dict[str, list[Operation]] = {}
    for operation in operations():
        by_noun.setdefault((operation.spec.get("tags") or ["process"])[0], []).append(operation)
    sections = (
        f"## {noun.replace('-', ' ').capitalize()}\n\n" + "\n\n".join(map(_section, of_noun))
        for noun, of_noun in by_noun.items()
    )
    return "\n\n".join(sections)


def _section(operation: Operation) -> str:
    pieces = [
        f"### {code(operation.title)}",
        (operation.spec.get("description") or operation.spec.get("summary", "")).strip(),
        _parameters(operation),
        *(_body(media, schema) for media, schema in operation.bodies.items()),
        _answers(operation),
        f"```sh\n{example(operation)}\n```",
    ]
    return "\n\n".join(piece for piece in pieces if piece)


def _parameters(operation: Operation) -> str:
    rows = [
        (
            code(parameter["name"]),
            parameter["in"],
            _shown(parameter["schema"]),
            default(parameter["schema"], required=parameter.get("required", False)),
            parameter.get("description"),
        )
        for parameter in operation.spec.get("parameters", ())
    ]
    return table(("parameter", "in", "type", "default", "meaning"), rows) if rows else ""


def _shown(schema: Mapping[str, Any]) -> str:
    """Return the type of a parameter without `or null`, because the default shows that it is optional."""
    return kind(schema, _link).removesuffix(" or null")


def _body(media: str, schema: Mapping[str, Any]) -> str:
    if name := name_of(schema):
        schema = _schemas()[name]
    if not schema.get("properties"):
        variants = f" {kind(schema, _link)}" if "anyOf" in schema else ""
        return f"Body: {code(media)}{variants}. {schema.get('description', '')}".strip()
    return f"Body: {code(media)}\n\n{_fields(schema)}"


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (code(name), kind(one, _link), default(one, required=name in required), one.get("description"))
        for name, one in schema["properties"].items()
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _answers(operation: Operation) -> str:
    good, bad = [], []
    for status, answer in sorted(operation.spec["responses"].items(), key=lambda pair: int(pair[0])):
        about = answer.get("description", "")
        codes = [name for name in re.findall(r"^- `(\w+)`", about, re.MULTILINE) if name not in OF_ALL]
        if codes:
            bad.append(f"{status} {', '.join(map(code, codes))}")
        elif int(status) < 300:
            content = " or ".join(_answer(media, body) for media, body in answer.get("content", {}).items())
            meaning = "" if about == "Successful Response" else about
            good.append(": ".join(filter(None, (" ".join(filter(None, (status, content))), meaning))))
    return "\n".join(
        [*(f"- Returns {one}" for one in good), *([f"- Errors: {'; '.join(bad)}"] if bad else [])]
    )


def _answer(media: str, body: Mapping[str, Any]) -> str:
    schema = body.get("schema", {})
    content = kind(schema, _link) if schema else ""
    if media == JSON and content:
        return content
    item = body.get("itemSchema", {})
    if name_of(item):
        return f"{code(media)} of {kind(item, _link)}"
    return code(media) + (f": {content}" if content and name_of(schema) else "")


# -- its example -----------------------------------------------------------------------------------


def example(operation: Operation) -> str:
    """Return a curl command that calls the operation."""
    given = operation.example
    values = {**_VALUES, **given.values}
    path = re.sub(r"\{(\w+)[^}]*\}", lambda found: _value(found[1], values), operation.path)
    query = {
        parameter["name"]: _value(parameter["name"], values)
        for parameter in operation.spec.get("parameters", ())
        if parameter["in"] == "query" and parameter.get("required")
    }
    asked = "&".join(f"{name}={value}" for name, value in {**query, **given.query}.items())
    flags = ["-sN" if operation.streams else "-s"]
    sent = _sent(operation, values)
    if operation.method != ("POST" if sent else "GET"):  # what curl sends anyway
        flags.append(f"-X {operation.method}")
    url = f'"http://127.0.0.1:8080{path}{f"?{asked}" if asked else ""}"'
    return " ".join(["curl", *flags, url, *([f"\\\n  {sent}"] if sent else [])])


def _value(name: str, values: Mapping[str, str]) -> str:
    return values.get(name, f"${name.upper()}")


def _sent(operation: Operation, values: Mapping[str, str]) -> str:
    bodies = operation.bodies
    if _MULTIPART in bodies:
        return "-F files=@pages/index.html -F tags=mine"
    if _YAML in bodies:
        return f"-H 'Content-Type: {_YAML}' --data-binary @docs.yaml"
    if not bodies:
        return ""
    (schema, *_) = bodies.values()
    if name := name_of(schema):
        schema = _schemas()[name]
    fields = ", ".join(f'"{name}": "{_value(name, values)}"' for name in schema.get("required", ()))
    body = operation.example.body or f"{{{fields}}}"
    # The shell expands variables only outside the single quotes.
    quoted = re.sub(r"([$][A-Z]+)", r"'\1'", body)
    return f"-H 'Content-Type: {JSON}' \\\n  -d '{quoted}'"


# -- bodies ----------------------------------------------------------------------------------------


def _bodies() -> str:
    sections = []
    for name, schema in sorted(_schemas().items()):
        if _is_page(schema) or not schema.get("properties"):
            continue
        about = schema.get("description", "")
        sections.append("\n\n".join(filter(None, (f"### {name}", about, _fields(schema)))))
    return "\n\n".join(sections)


PARTS: Final[Parts] = {"operations": _operations, "bodies": _bodies}
