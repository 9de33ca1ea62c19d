"""The compose files, parsed by Docker Compose itself, without an engine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from playhead.api.callers import Hosts
from playhead.settings import Settings
from playhead.settings.values import PREFIX
from tests.deploy.checks import ROOT, TIMEOUT_SECONDS, is_setting, parses, run, status, tool
from tests.servers.process import free_port

OURS = ("migrate", "server", "worker")
FILES = {"nats": ("compose.yaml",), "rabbitmq": ("compose.yaml", "deploy/compose.rabbitmq.yaml")}
SECONDS = {"m": 60.0, "s": 1.0}


@pytest.fixture(params=sorted(FILES))
def broker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def services(broker: str) -> dict[str, Any]:
    files = [part for file in FILES[broker] for part in ("--file", file)]
    said = run(tool("docker-compose"), *files, "config", "--format", "json")
    assert (said.returncode, said.stderr) == (0, "")
    found: dict[str, Any] = json.loads(said.stdout)["services"]
    return found


def test_a_server_with_a_first_key_is_not_insecure_and_no_other_service_gets_the_key():
    files = ("--file", "compose.yaml", "--file", "deploy/compose.keys.yaml")
    said = run(tool("docker-compose"), *files, "config", "--format", "json")
    assert (said.returncode, said.stderr) == (0, "")
    project = json.loads(said.stdout)
    server = project["services"]["server"]
    assert server["command"] == ["serve", "--host", "0.0.0.0"]
    (secret,) = server["secrets"]
    assert server["environment"]["PLAYHEAD_FIRST_KEY_FILE"] == f"/run/secrets/{secret['source']}"
    assert is_setting("PLAYHEAD_FIRST_KEY_FILE")
    assert Path(project["secrets"][secret["source"]]["file"]).name == "first.key"
    others = [one for name, one in project["services"].items() if name != "server"]
    assert "first-key" not in json.dumps(others)


def seconds(duration: str) -> float:
    """Convert `5m30s` to 330."""
    total, digits = 0.0, ""
    for character in duration:
        if character in SECONDS:
            total, digits = total + float(digits) * SECONDS[character], ""
        else:
            digits += character
    return total


def test_all_backends_are_present_and_only_one_broker(services, broker):
    assert set(services) == {*OURS, "postgres", "s3", broker}


def test_all_playhead_services_have_the_same_existing_settings(services):
    told = [services[name]["environment"] for name in OURS]
    assert told[0] == told[1] == told[2]
    ours = [variable for variable in told[0] if variable.startswith(PREFIX)]
    assert {"PLAYHEAD_STORE", "PLAYHEAD_BROKER", "PLAYHEAD_CATALOG"} <= set(ours)
    assert [variable for variable in ours if not is_setting(variable)] == []


def test_the_settings_lead_to_the_backends(services, broker):
    told = services["server"]["environment"]
    ports = {"nats": 4222, "rabbitmq": 5672}
    assert "@postgres:5432/" in told["PLAYHEAD_CATALOG"]
    assert f"{broker}:{ports[broker]}" in told["PLAYHEAD_BROKER"]
    port = services["s3"]["environment"]["VGW_PORT"].removeprefix(":")
    assert f"endpoint=http://s3:{port}&" in told["PLAYHEAD_STORE"]
    assert told["AWS_ACCESS_KEY_ID"] == services["s3"]["environment"]["ROOT_ACCESS_KEY"]
    assert told["AWS_SECRET_ACCESS_KEY"] == services["s3"]["environment"]["ROOT_SECRET_KEY"]
    # A bucket is a folder of the gateway.
    bucket = told["PLAYHEAD_STORE"].removeprefix("s3://").split("?")[0]
    root = services["s3"]["command"][-1]
    assert [volume["target"] for volume in services["s3"]["volumes"]] == [f"{root}/{bucket}"]


@pytest.mark.slow
def test_the_commands_of_all_playhead_services_are_valid(services):
    assert [name for name in OURS if not parses(services[name]["command"])] == []


def test_the_playhead_services_have_minimal_privileges(services):
    for name in OURS:
        service = services[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert "privileged" not in service, name


def test_no_port_is_reachable_from_other_machines(services):
    published = [(name, p.get("host_ip")) for name, s in services.items() for p in s.get("ports", ())]
    assert published == [("server", "127.0.0.1")]


def test_the_server_accepts_the_host_names_of_this_machine_and_of_its_network_only(services):
    told = services["server"]["environment"]["PLAYHEAD_ALLOWED_HOSTS"]
    hosts = Hosts(loopback=False, named=frozenset(Settings(allowed_hosts=told).allowed_hosts))
    asked = ("localhost:8080", "127.0.0.1:8080", "server:8080", "evil.example:8080")
    assert [host for host in asked if hosts.allow(host, "/api/v1/configs")] == list(asked[:3])


def test_third_party_images_are_pinned(services):
    images = {name: s["image"] for name, s in services.items() if name not in OURS}
    assert [i for i in images.values() if i.rpartition(":")[2] in ("", "latest") or ":" not in i] == []


def test_each_service_starts_after_its_dependencies_are_healthy(services, broker):
    backends = dict.fromkeys(("postgres", "s3", broker), "service_healthy")
    for name in OURS:
        waits = {on: how["condition"] for on, how in services[name]["depends_on"].items()}
        expected = (
            backends if name == "migrate" else {**backends, "migrate": "service_completed_successfully"}
        )
        assert waits == expected, name
    assert [n for n, s in services.items() if "healthcheck" not in s] == ["migrate", "worker"]


def test_two_workers_have_time_to_finish_running_messages(services):
    assert services["worker"]["deploy"]["replicas"] == 2
    assert seconds(services["worker"]["stop_grace_period"]) > TIMEOUT_SECONDS


def test_mounted_files_exist(services):
    mounted = [v["source"] for s in services.values() for v in s.get("volumes", ()) if v["type"] == "bind"]
    assert [source for source in mounted if not Path(source).is_file()] == []


def test_the_adapters_mounted_by_the_page_reach_servers_and_workers(tmp_path):
    page = (ROOT / "docs" / "howto" / "deploy.md").read_text(encoding="utf-8")
    (override,) = (b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "PLAYHEAD_ADAPTERS" in b)
    (tmp_path / "override.yaml").write_text(override, encoding="utf-8")
    said = run(
        tool("docker-compose"),
        *("--file", "compose.yaml", "--file", str(tmp_path / "override.yaml")),
        *("--project-directory", str(ROOT), "config", "--format", "json"),
    )
    assert said.returncode == 0, said.stderr
    services = json.loads(said.stdout)["services"]
    for name in ("server", "worker"):
        told = services[name]["environment"]
        mounted = {volume["target"] for volume in services[name]["volumes"]}
        assert told["PLAYHEAD_ADAPTERS"] in mounted, name
        assert {"PLAYHEAD_STORE", "PLAYHEAD_BROKER", "PLAYHEAD_CATALOG"} <= set(told), name
        assert "/var/lib/playhead" in mounted, name


@pytest.mark.slow
def test_nats_accepts_its_configuration_and_passes_the_health_check(tmp_path):
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["nats"]
    port = free_port()
    # Paths in the container, and the paths that replace them here.
    here = {
        service["volumes"][0].split(":")[1]: str(ROOT / service["volumes"][0].split(":")[0]),
        service["volumes"][1].split(":")[1]: str(tmp_path),
        "8222": str(port),
    }
    assert set(here) <= set(service["command"])
    arguments = [here.get(argument, argument) for argument in service["command"]]
    server = subprocess.Popen(
        [tool("nats-server"), *arguments, "--addr", "127.0.0.1", "--port", str(free_port())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = service["healthcheck"]["test"][-1]
        assert url.startswith("http://127.0.0.1:8222/")
        assert status(port, "/" + url.split("/", 3)[3]) == 200
        assert (tmp_path / "jetstream").is_dir()
    finally:
        server.terminate()
        server.wait(timeout=120)
