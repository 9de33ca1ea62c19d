"""Configs with faults, through the API, which stores nothing of them, and the command line.

The table of all faults is in `tests/unit/test_config_faults.py`. These here need a deployment, or much text.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

import pytest

from playhead.config import parse
from playhead.model import Diagnostic
from tests.acceptance.bad_input.ground import Ground
from tests.acceptance.shell import Command
from tests.unit.test_config_faults import ADAPTERS, r, routes, step

pytestmark = pytest.mark.slow

YAML: Final = {"Content-Type": "application/yaml"}
KEPT = routes("r: {adapters: [{type: copy}]}")


def _mine(text: str) -> str:
    """Return the text with another name of the config, so that the config is not the deployment's own."""
    return text.replace("name: docs", "name: mine")


def _bomb() -> str:
    """Return nine lines with a thousand million nodes."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]\n"]
    for last, this in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{this}: &{this} [{','.join([f'*{last}'] * 9)}]\n")
    return "".join(lines)


FAULTS: dict[str, tuple[str, bytes]] = {
    "not allowed": ("E202", _mine(step("type: secret")).encode()),
    "queue in use": ("E307", _mine(r("adapters: [{type: copy}], inbound: {queue: docs.shout}")).encode()),
    "dropped routes": ("W104", KEPT.replace("entry: r", "entry: r\ndescription: another").encode()),
    "deep": ("E003", ("{a: " * 200_000).encode()),
    "bomb": ("E003", _bomb().encode()),
    "long text": ("E003", b"a: &a " + b"x" * 500_000 + b"\nb: [*a, *a, *a]\n"),
    "not UTF-8": ("E003", b"name: mine\nentry: ab\xff\n"),
    "UTF-16": ("E003", "name: mine".encode("utf-16")),
    "not YAML": ("E001", b"a: ["),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported_by_the_api_and_the_command_line_and_nothing_is_stored(
    ground: Ground, command: Command, name: str
):
    code, source = FAULTS[name]
    checked = ground.request("POST", "/api/v1/configs/validate", {"content": source, "headers": YAML}).json()
    found: list[dict[str, Any]] = checked["diagnostics"]
    assert {fault["code"] for fault in found} == {code}
    (ground.deployment.folder / "faulty.yaml").write_bytes(source)
    ended, out, _ = command("config", "validate", "faulty.yaml", "--json")
    assert json.loads(out)["diagnostics"] == found

    is_valid = code.startswith("W")
    assert (checked["valid"], ended) == (is_valid, 0 if is_valid else 1)
    if not is_valid:
        refused = ground.request("POST", "/api/v1/configs", {"content": source, "headers": YAML})
        body = refused.json()
        assert (refused.status_code, body["error_code"]) == (400, "config_invalid")
        assert body["diagnostics"] == found
        assert f"{found[0]['line']}:{found[0]['column']}: {code}" in body["detail"]
        for words in (["config", "apply", "faulty.yaml"], ["run", "faulty.yaml", "pages"]):
            for server in ([], ["--server", ground.deployment.url]):
                ended, out, err = command(*words, "--json", *server)
                assert (ended, json.loads(out)["error_code"]) == (1, "config_invalid")
                assert f"faulty.yaml:{found[0]['line']}:" in err
    ground.nothing_was_left()


def test_a_config_over_the_limit_is_refused_by_the_api_and_by_the_command_line(
    ground: Ground, command: Command
):
    large = _mine(r("adapters: [{type: copy}]")).encode() + b"#" * (1 << 20)
    refused = ground.request("POST", "/api/v1/configs", {"content": large, "headers": YAML})
    assert (refused.status_code, refused.json()["error_code"]) == (413, "body_too_large")
    [fault] = parse(large, adapters=ADAPTERS).diagnostics
    (ground.deployment.folder / "large.yaml").write_bytes(large)
    code, out, _ = command("config", "validate", "large.yaml", "--json")
    assert (code, json.loads(out)["diagnostics"]) == (1, [asdict(fault)])
    assert isinstance(fault, Diagnostic)
    assert fault.code == "E003"
    ground.nothing_was_left()
