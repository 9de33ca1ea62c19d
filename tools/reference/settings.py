"""Generate `settings.md`: every setting, from the settings model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from playhead.settings import Settings
from playhead.settings.values import PREFIX
from tools.reference import Parts, code, table
from tools.reference.schema import kind

FOR_TESTS: Final = frozenset({"fault", "clock_shift_seconds"})

_PAGES: Final = {
    "s3://…": "s3.md",
    "nats://…": "nats.md",
    "amqp://…": "rabbitmq.md",
    "postgresql://…": "postgresql.md",
}
#: Pages with more about a setting.
_MORE: Final = {
    "adapters": "own-adapter.md",
    "allowed_hosts": "security.md",
    "audit_reads": "audit.md",
    "internal_hosts": "http-requests.md",
    "max_connections": "security.md",
    "server": "remote.md",
    "oidc_issuer": "oidc.md",
    "oidc_map": "oidc.md",
    "proxy_user_header": "oidc.md",
}
_PLACES: Final = ("store", "broker", "catalog")


def _row(name: str, schema: dict[str, Any]) -> tuple[str, str, str, str]:
    field = Settings.model_fields[name]
    about = field.description or ""
    for address, page in _PAGES.items():
        about = about.replace(address, f"[{address}](../howto/{page})")
    if more := _MORE.get(name):
        about += f" [More](../howto/{more})."
    return code(PREFIX + name.upper()), _default(name, field.default), _kind(name, schema), about


def _default(name: str, value: object) -> str:
    if value is None or value == () or value == "":
        return "in the home" if name in _PLACES else ""
    return code(f"{value:g}" if isinstance(value, float) else value)


def _kind(name: str, schema: dict[str, Any]) -> str:
    if schema.get("type") == "array" or any(o.get("type") == "array" for o in schema.get("anyOf", ())):
        return "comma list"
    if isinstance(Settings.model_fields[name].default, Path):
        return "folder"
    return re.sub(r", not empty| or null", "", kind(schema))


def _settings() -> str:
    schemas = Settings.model_json_schema()["properties"]
    rows = [_row(name, schema) for name, schema in schemas.items() if name not in FOR_TESTS]
    return table(("variable", "default", "type", "meaning"), rows)


PARTS: Final[Parts] = {"settings": _settings}
