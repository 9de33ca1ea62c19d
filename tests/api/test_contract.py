"""The served OpenAPI description of `POST /api/v1/replay` equals the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.api.server import Playhead

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parent / "replay.openapi.json").read_text())
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]


async def _served(playhead: Playhead) -> dict[str, Any]:
    served: dict[str, Any] = (await playhead.http.get("/openapi.json")).json()
    return served


def _differences(wanted: Any, served: Any, at: str) -> Iterator[str]:
    """Yield the paths at which `served` lacks or changes a value of `wanted`; it may have more keys."""
    if isinstance(wanted, dict) and isinstance(served, dict):
        for key, value in wanted.items():
            if key in served:
                yield from _differences(value, served[key], f"{at}.{key}")
            else:
                yield f"{at}.{key} is missing"
    elif isinstance(wanted, list) and isinstance(served, list) and "required" in at:
        if sorted(wanted) != sorted(served):
            yield f"{at}: wanted {wanted}, served {served}"
    elif wanted != served:
        yield f"{at}: wanted {wanted}, served {served}"


async def test_the_served_operation_contains_the_contract_field_for_field(playhead: Playhead):
    served = await _served(playhead)
    wanted = CONTRACT["paths"]["/api/v1/replay"]["post"]
    assert list(_differences(wanted, served["paths"]["/api/v1/replay"]["post"], "post")) == []


@pytest.mark.parametrize("name", SCHEMAS)
async def test_the_served_schemas_contain_the_contract_field_for_field(playhead: Playhead, name: str):
    served = (await _served(playhead))["components"]["schemas"]
    assert list(_differences(SCHEMAS[name], served[name], name)) == []


@pytest.mark.parametrize("name", ["DetachedReplayRequest", "DetachedReplayResponse", "ErrorResponse"])
async def test_the_schemas_add_only_optional_request_fields_and_allow_unknown_fields(
    playhead: Playhead, name: str
):
    served = (await _served(playhead))["components"]["schemas"][name]
    added = served["properties"].keys() - SCHEMAS[name]["properties"].keys()
    assert not added & set(served["required"])
    assert not added or name == "DetachedReplayRequest"
    assert "additionalProperties" not in served


@pytest.mark.parametrize(
    ("schema", "field"), [(s, f) for s in SCHEMAS for f in SCHEMAS[s]["properties"] if s != "ValidationError"]
)
async def test_no_field_has_a_constraint_or_default_beyond_the_contract(
    playhead: Playhead, schema: str, field: str
):
    served = (await _served(playhead))["components"]["schemas"][schema]["properties"][field]
    assert set(served) - {"description"} == set(SCHEMAS[schema]["properties"][field])


async def test_every_operation_describes_its_errors(playhead: Playhead):
    for path, operations in (await _served(playhead))["paths"].items():
        for method, operation in operations.items():
            errors = [s for s in operation["responses"] if s >= "400"]
            assert path in ("/healthz", "/metrics", "/api/v1/system/health") or errors, f"{method} {path}"
            assert operation.get("description"), f"{method} {path}"


async def test_every_operation_has_a_short_unique_id_that_is_valid_in_clients(playhead: Playhead):
    ids = [
        operation["operationId"]
        for operations in (await _served(playhead))["paths"].values()
        for operation in operations.values()
    ]
    contracts = CONTRACT["paths"]["/api/v1/replay"]["post"]["operationId"]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if "api_v1" in name] == [contracts]
    assert {"list_executions", "run_config", "create_config", "get_lineage_chain"} <= set(ids)


async def test_every_json_body_and_answer_is_a_named_schema(playhead: Playhead):
    described = await _served(playhead)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in contents:
                for kind, body in content.get("content", {}).items():
                    schema = body.get("schema", body.get("itemSchema", ()))
                    named = "$ref" in schema or path == "/api/v1/storage/objects/metadata"
                    assert named or not kind.endswith(("json", "form-data")), f"{method} {path} {kind}"
    titles = [schema["title"] for schema in described["components"]["schemas"].values()]
    assert len(titles) == len(set(titles)), "a generator would make one class of two"
    assert {"ExecutionPage", "RunForm", "RunPayload", "ConfigSource"} <= set(titles)


async def test_every_schema_and_field_of_playhead_has_a_description(playhead: Playhead):
    schemas = (await _served(playhead))["components"]["schemas"]
    frameworks = {"HTTPValidationError", "ValidationError"}
    silent = [name for name in schemas.keys() - frameworks if not schemas[name].get("description")]
    silent += [
        f"{name}.{field}"
        for name in schemas.keys() - frameworks
        for field, schema in schemas[name].get("properties", {}).items()
        if not schema.get("description")
    ]
    assert sorted(silent) == []


async def test_a_field_of_a_dataclass_has_the_description_from_its_docstring(playhead: Playhead):
    schemas = (await _served(playhead))["components"]["schemas"]
    assert [name for name, schema in schemas.items() if "Attributes:" in schema.get("description", "")] == []
    for name in ("Replay",):  # two fields on one line; None is null
        fields = schemas[name]["properties"]
        assert fields["from_stage"]["description"] == fields["to_route"]["description"] == "As requested."
        assert fields["from_path"]["description"] == "As requested; null: the whole stage."
    assert schemas["Execution"]["properties"]["counts"] == {
        "$ref": "#/components/schemas/Counts",
        "description": "Its messages by state.",
    }
    assert schemas["ExecutionPage"]["description"] == "A page of a list."


async def test_every_time_field_has_the_format_date_time(playhead: Playhead):
    schemas = (await _served(playhead))["components"]["schemas"]
    fields = [f for schema in schemas.values() for f in schema.get("properties", {}).items()]
    told = [(name, field) for name, field in fields if "RFC 3339" in field.get("description", "")]
    assert len(told) > 15
    assert [name for name, field in told if '"format": "date-time"' not in json.dumps(field)] == []


async def test_every_reference_in_the_description_resolves(playhead: Playhead):
    described = await _served(playhead)
    text = json.dumps(described)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names
    assert names <= described["components"]["schemas"].keys()
