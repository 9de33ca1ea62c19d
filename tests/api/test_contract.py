"""The served description of `POST /api/v1/replay` says what the contract says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.api.conftest import Playhead

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parent / "replay.openapi.json").read_text())
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]


async def _served(playhead: Playhead) -> dict[str, Any]:
    served: dict[str, Any] = (await playhead.http.get("/openapi.json")).json()
    return served


def _differences(wanted: Any, served: Any, at: str) -> Iterator[str]:
    """Where `served` does not contain `wanted`: keys may be added, values may not differ."""
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
async def test_our_schemas_add_no_field_and_forbid_none(playhead: Playhead, name: str):
    served = (await _served(playhead))["components"]["schemas"][name]
    assert set(served["properties"]) == set(SCHEMAS[name]["properties"])
    assert "additionalProperties" not in served


@pytest.mark.parametrize(
    ("schema", "field"), [(s, f) for s in SCHEMAS for f in SCHEMAS[s]["properties"] if s != "ValidationError"]
)
async def test_no_field_gets_a_constraint_or_default_that_the_contract_has_not(
    playhead: Playhead, schema: str, field: str
):
    served = (await _served(playhead))["components"]["schemas"][schema]["properties"][field]
    assert set(served) - {"description"} == set(SCHEMAS[schema]["properties"][field])


async def test_every_operation_describes_its_errors(playhead: Playhead):
    for path, operations in (await _served(playhead))["paths"].items():
        for method, operation in operations.items():
            errors = [s for s in operation["responses"] if s >= "400"]
            assert path in ("/healthz", "/api/v1/system/health") or errors, f"{method} {path}"
            assert operation.get("description"), f"{method} {path}"
