"""The Helm chart: rendered by Helm's own library, and validated against the schemas of Kubernetes."""

from __future__ import annotations

import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import playhead
from playhead.backends.broker_nats.streams import BULK_CONSUMER, CONSUMER, stream_of
from playhead.settings.values import PREFIX
from tests.deploy.checks import ROOT, TIMEOUT_SECONDS, is_setting, parses
from tests.servers import Missing, absent

CHART: Final = ROOT / "deploy" / "helm" / "playhead"
BACKENDS: Final = ("PLAYHEAD_STORE", "PLAYHEAD_BROKER", "PLAYHEAD_CATALOG")
LEAST: Final[dict[str, Any]] = {"secretName": "playhead"}
QUEUES: Final = {"queues": ["docs.convert", "docs.index_all"], "nats": {"monitoringEndpoint": "nats:8222"}}
MOST: Final[dict[str, Any]] = {
    **LEAST,
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "migrate": {"secretName": "playhead-owner", "grants": "server=playhead_server"},
    "settings": {"QUEUE_PREFIX": "eu_", "HEARTBEAT_SECONDS": 2},
    "extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "playhead"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    "podLabels": {"team": "documents"},
    "podAnnotations": {"example.com/owner": "documents"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "batch",
    "serviceAccount": {
        "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/playhead"}
    },
    # Merged with the emptyDir of values.yaml, as Helm merges maps.
    "home": {"persistentVolumeClaim": {"claimName": "playhead"}},
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/playhead", "readOnly": True}],
    "server": {
        "firstKeySecretName": "playhead-first-key",
        "topologySpreadConstraints": [
            spread := {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "server"}},
            }
        ],
    },
    "worker": {"routes": ["convert", "docs/segment"], "processes": 4, "topologySpreadConstraints": [spread]},
    "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"team": "documents"}}}]},
    "keda": {"enabled": True, "minReplicas": 0},
}
ALL: Final[dict[str, dict[str, Any]]] = {
    "least": LEAST,
    "most": MOST,
    "nats": {**LEAST, "keda": {"enabled": True, "trigger": "nats", **QUEUES}},
    "rabbitmq": {**LEAST, "keda": {"enabled": True, "trigger": "rabbitmq", **QUEUES}},
    "bare": {
        **LEAST,
        "settings": {"LOG_FORMAT": None},
        "migrate": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
    },
}


def library(name: str) -> Any:
    if find_spec(name) is None:
        absent(Missing("deploy", f"{name} is not installed", "make test-deploy"))
    return importlib.import_module(name)


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a release `demo` in the namespace `prod`."""
    helm = library("helm_python")
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name="demo", namespace="prod")
    return [
        document
        for name, text in files.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def of_kind(kind: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [document for document in rendered(values) if document["kind"] == kind]


def pods(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the pods of a release by component."""
    documents = rendered(values)
    templates = [d["spec"]["template"] for d in documents if d["kind"] in ("Deployment", "Job")]
    templates += [d for d in documents if d["kind"] == "Pod"]
    return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t["spec"] for t in templates}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


def refusal(values: dict[str, Any]) -> str:
    helm = library("helm_python")
    with pytest.raises(helm.errors.HelmError) as refused:
        rendered(values)
    return str(refused.value)


# -- as a whole ------------------------------------------------------------------------------------


def test_helm_lint_reports_nothing():
    report = library("helm_python").lint(CHART, LEAST, strict=True)
    said = [m for m in report["messages"] if m["severity"] > 1]
    assert (said, report["errors"], report["total_charts_linted"]) == ([], [], 1)


def test_the_packaged_chart_renders_the_same_objects(tmp_path: Path):
    helm = library("helm_python")
    archive = Path(helm.chart.package(CHART, destination=tmp_path))
    assert archive.name == f"playhead-{playhead.__version__}.tgz"
    with helm.Chart.load(CHART) as folder, helm.Chart.load_archive(archive.read_bytes()) as packaged:
        assert packaged.render(MOST, name="demo", namespace="prod") == folder.render(
            MOST, name="demo", namespace="prod"
        )


def test_the_release_can_name_the_published_image_in_the_values():
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert len(re.findall(r"^  repository: playhead$", values, re.MULTILINE)) == 1


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
@pytest.mark.parametrize("version", ["1.30", "latest"])
def test_every_object_is_valid_for_kubernetes(values: dict[str, Any], version: str):
    kubernetes = library("kubernetes_validate")
    wanted = kubernetes.latest_version() if version == "latest" else version
    seen = set()
    for document in rendered(values):
        if document["apiVersion"].startswith("keda.sh/"):
            continue
        kubernetes.validate(document, wanted, strict=True)
        seen.add(document["kind"])
    assert {"Deployment", "Service", "PodDisruptionBudget"} <= seen


def test_the_image_has_the_version_of_the_chart():
    from playhead import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
    assert container(pods(LEAST)["server"])["image"] == f"playhead:{__version__}"
    assert container(pods(MOST)["server"])["image"] == f"playhead@sha256:{'0' * 64}"


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
def test_every_pod_meets_the_restricted_standard_and_more(values: dict[str, Any]):
    for component, pod in pods(values).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, component
        assert pod["securityContext"]["runAsUser"] > 0, component
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, component
        assert pod["automountServiceAccountToken"] is False, component
        # Otherwise a Service named playhead sets PLAYHEAD_PORT to tcp://…, and no pod starts.
        assert pod["enableServiceLinks"] is False, component
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, component
        added = {mount["mountPath"] for mount in values.get("extraVolumeMounts", ())}
        if component == "server" and "firstKeySecretName" in values.get("server", {}):
            added.add("/run/playhead")
        mounts = {mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        assert mounts == {"/var/lib/playhead", "/tmp", *added}, component
        assert container(pod)["resources"]["limits"]["memory"], component


def test_values_that_may_contain_a_password_come_from_the_secret_only():
    for pod in pods(MOST).values():
        assert {"secretRef": {"name": "playhead"}} in container(pod)["envFrom"]
    text = json.dumps(rendered(MOST))
    assert "://" not in text
    assert "settings.CATALOG" in refusal({**LEAST, "settings": {"CATALOG": "postgresql://u:secret@db/p"}})


def backends(pod: dict[str, Any]) -> dict[str, str]:
    """Return the backends that a pod needs to start, each with the Secret that must have it."""
    told = {variable["name"]: variable.get("valueFrom") for variable in container(pod)["env"]}
    # If a variable occurs twice, some tools keep the wrong one.
    assert len(told) == len(container(pod)["env"])
    found = {}
    for name in BACKENDS:
        if source := told.get(name):
            assert source["secretKeyRef"] == {"name": source["secretKeyRef"]["name"], "key": name}
            found[name] = source["secretKeyRef"]["name"]
    return found


def test_no_pod_starts_without_its_backends():
    # With envFrom alone, a typing error in a key would silently store files in each pod's own emptyDir.
    for component, pod in pods(LEAST).items():
        assert backends(pod) == dict.fromkeys(BACKENDS, "playhead"), component


def test_the_migration_does_not_run_without_the_catalog_of_its_own_secret():
    assert backends(pods(MOST)["migrate"]) == {
        "PLAYHEAD_STORE": "playhead",
        # The second Secret may name another catalog, and a value set here would override it.
        "PLAYHEAD_CATALOG": "playhead-owner",
    }


def test_workers_with_their_own_secret_get_nothing_of_the_first_one():
    worker = {"secretName": "playhead-workers", "serviceAccountName": "playhead-workers"}
    found = pods({**LEAST, "worker": worker})
    assert backends(found["worker"]) == dict.fromkeys(BACKENDS, "playhead-workers")
    assert container(found["worker"])["envFrom"] == [{"secretRef": {"name": "playhead-workers"}}]
    assert found["worker"]["serviceAccountName"] == "playhead-workers"
    others = {component: pod for component, pod in found.items() if component != "worker"}
    assert others == {one: pod for one, pod in pods(LEAST).items() if one != "worker"}


def test_the_migration_gives_roles_their_rights_if_the_values_name_them():
    assert container(pods(LEAST)["migrate"])["args"] == ["migrate"]
    roles = "server=playhead_server,worker=playhead_worker"
    migration = container(pods({**LEAST, "migrate": {"grants": roles}})["migrate"])
    assert migration["args"] == ["migrate", "--grants", roles, "--execute"]
    assert "grants" in refusal({**LEAST, "migrate": {"grants": "playhead_server"}})


def test_a_backend_is_embedded_only_if_the_values_say_so():
    values = {**LEAST, "embedded": ["store", "broker"]}
    for component, pod in pods(values).items():
        assert backends(pod) == {"PLAYHEAD_CATALOG": "playhead"}, component
    assert "embedded" in refusal({**LEAST, "embedded": ["stores"]})


def test_a_backend_set_by_a_variable_is_not_required_in_the_secret():
    other = {
        "name": "PLAYHEAD_CATALOG",
        "valueFrom": {"secretKeyRef": {"name": "playhead-database", "key": "uri"}},
    }
    for component, pod in pods({**LEAST, "extraEnv": [other]}).items():
        named = [variable for variable in container(pod)["env"] if variable["name"] == "PLAYHEAD_CATALOG"]
        assert named == [other], component


def test_a_number_is_rendered_in_the_format_that_playhead_reads():
    settings = {"MAX_OBJECT_BYTES": 100_000_000, "MAX_UPLOAD_BYTES": 1_000_000, "LEASE_SECONDS": 0.5}
    told = container(pods({**LEAST, "settings": settings})["worker"])["env"]
    values = {variable["name"]: variable["value"] for variable in told if "value" in variable}
    assert values["PLAYHEAD_MAX_OBJECT_BYTES"] == "100000000"
    assert values["PLAYHEAD_MAX_UPLOAD_BYTES"] == "1000000"
    assert values["PLAYHEAD_LEASE_SECONDS"] == "0.5"
    # Kubernetes does not accept 1e+06 as an integer either.
    (job,) = of_kind("Job", {**LEAST, "migrate": {"activeDeadlineSeconds": 1_000_000}})
    assert isinstance(job["spec"]["activeDeadlineSeconds"], int)


def test_a_truncated_tag_is_a_valid_label():
    (service,) = of_kind("Service", {**LEAST, "image": {"tag": f"{'a' * 62}.b"}})
    assert service["metadata"]["labels"]["app.kubernetes.io/version"] == "a" * 62


def test_a_volume_replaces_the_default_volume_also_if_that_is_set_to_null():
    claim = {"persistentVolumeClaim": {"claimName": "playhead"}}
    for values, wanted in (
        ({}, {"emptyDir": {"sizeLimit": "1Gi"}}),
        ({"home": claim, "tmp": claim}, claim),
        ({"home": {"emptyDir": None} | claim, "tmp": {"emptyDir": None} | claim}, claim),
    ):
        volumes = pods({**LEAST, **values})["worker"]["volumes"]
        assert volumes == [{"name": "home", **wanted}, {"name": "tmp", **wanted}]


def test_every_pod_gets_the_additional_files():
    for component, pod in pods(MOST).items():
        assert MOST["extraVolumes"][0] in pod["volumes"], component
        assert MOST["extraVolumeMounts"][0] in container(pod)["volumeMounts"], component


def test_all_settings_exist():
    told = container(pods(MOST)["worker"])["env"]
    values = {variable["name"]: variable.get("value") for variable in told}
    assert values["PLAYHEAD_QUEUE_PREFIX"] == "eu_"
    assert values["PLAYHEAD_HEARTBEAT_SECONDS"] == "2"
    assert [name for name in values if name.startswith(PREFIX) and not is_setting(name)] == []


@pytest.mark.slow
def test_the_arguments_of_all_pods_are_valid_commands():
    assert [name for name, pod in pods(MOST).items() if not parses(container(pod)["args"])] == []


def test_a_server_with_a_first_key_requires_it_and_no_other_pod_gets_it():
    found = pods(MOST)
    server = container(found["server"])
    assert "--insecure" not in server["args"]
    (path,) = [one["value"] for one in server["env"] if one["name"] == "PLAYHEAD_FIRST_KEY_FILE"]
    (mount,) = [one for one in server["volumeMounts"] if one["name"] == "first-key"]
    (volume,) = [one for one in found["server"]["volumes"] if one["name"] == "first-key"]
    assert volume["secret"]["secretName"] == "playhead-first-key"
    assert path == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert [name for name, pod in found.items() if "first-key" in json.dumps(pod)] == ["server"]
    assert "--insecure" in container(pods(LEAST)["server"])["args"]


# -- refused values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "secretName: name an existing Secret"),
        ({**LEAST, "workers": {"replicas": 3}}, "workers"),
        ({**LEAST, "worker": {"replica": 3}}, "replica"),
        ({**LEAST, "settings": {"PLAYHEAD_LOG_LEVEL": "debug"}}, "remove the prefix PLAYHEAD_"),
        ({**LEAST, "worker": {"routes": ["docs.convert"]}}, "docs.convert"),
        ({**LEAST, "keda": {"enabled": True, "trigger": "kafka"}}, "trigger"),
        ({**LEAST, "keda": {"enabled": True, "trigger": "rabbitmq"}}, "keda.queues"),
        ({**LEAST, "keda": {"enabled": True, "trigger": "nats", "queues": ["a"]}}, "monitoringEndpoint"),
        (
            {**LEAST, "keda": {"enabled": True, "minReplicas": 0}, "server": {"replicas": 0}},
            "needs at least one server",
        ),
    ],
)
def test_invalid_values_are_refused_with_an_explanation(values: dict[str, Any], words: str):
    assert words in refusal(values)


def shown() -> list[dict[str, Any]]:
    """Yield the values that the page shows, and those that it sets on the command line."""
    page = (ROOT / "docs" / "howto" / "deploy.md").read_text(encoding="utf-8")
    part = page.split("\n## On Kubernetes\n", 1)[1].split("\n## ", 1)[0]
    values = [yaml.safe_load(b) for b in re.findall(r"^```yaml\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)]
    for block in re.findall(r"^helm upgrade (?:.*\\\n)*.*$", part, re.MULTILINE):
        told: dict[str, Any] = {}
        for name, value in re.findall(r"--set '?([\w.]+)=([^\s']+)", block):
            *path, last = name.split(".")
            place = told
            for step in path:
                place = place.setdefault(step, {})
            place[last] = [value[1:-1]] if value.startswith("{") else yaml.safe_load(value)
        values.append(told)
    return values


def test_the_values_on_the_page_are_valid():
    kubernetes = library("kubernetes_validate")
    found = shown()
    assert len(found) >= 5
    for values in found:
        for document in rendered({**LEAST, **values}):
            if not document["apiVersion"].startswith("keda.sh/"):
                kubernetes.validate(document, kubernetes.latest_version(), strict=True)


def test_dedicated_workers_for_some_routes_are_a_release_without_servers_and_without_the_job():
    (values,) = (v for v in shown() if "server" in v)
    assert of_kind("Job", values) == []
    replicas = {d["metadata"]["name"]: d["spec"]["replicas"] for d in of_kind("Deployment", values)}
    assert replicas == {"demo-playhead-server": 0, "demo-playhead-worker": 2}
    assert container(pods(values)["worker"])["args"][-2:] == ["--route", "docs/convert"]


# -- each part -------------------------------------------------------------------------------------


def test_a_server_is_probed_and_drained():
    server = pods(LEAST)["server"]
    paths = {
        kind: container(server)[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    (port,) = container(server)["ports"]
    assert str(port["containerPort"]) in container(server)["args"]
    pause = container(server)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause < server["terminationGracePeriodSeconds"]


def test_the_service_selects_the_servers_and_not_the_workers():
    (service,) = of_kind("Service", LEAST)
    labels = {
        d["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: set(
            d["spec"]["template"]["metadata"]["labels"].items()
        )
        for d in of_kind("Deployment", LEAST)
    }
    wanted = set(service["spec"]["selector"].items())
    assert wanted <= labels["server"]
    assert not wanted <= labels["worker"]


def test_a_worker_has_time_to_finish_running_messages():
    worker = pods(LEAST)["worker"]
    assert worker["terminationGracePeriodSeconds"] > TIMEOUT_SECONDS


def test_a_release_whose_workers_crash_does_not_replace_running_ones():
    (worker,) = (d["spec"] for d in of_kind("Deployment", LEAST) if d["metadata"]["name"].endswith("-worker"))
    assert worker["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    # Longer than the 5 s for which a starting worker waits for PostgreSQL before it exits.
    assert worker["minReadySeconds"] > 10
    values = {**LEAST, "worker": {"minReadySeconds": 0, "rollingUpdate": {"maxSurge": "50%"}}}
    (worker,) = (
        d["spec"] for d in of_kind("Deployment", values) if d["metadata"]["name"].endswith("-worker")
    )
    assert worker["strategy"]["rollingUpdate"]["maxSurge"] == "50%"
    assert worker["minReadySeconds"] == 0


def test_pod_labels_cannot_change_the_selector_of_a_deployment():
    before, after = of_kind("Deployment", LEAST), of_kind("Deployment", MOST)
    assert [d["spec"]["selector"] for d in before] == [d["spec"]["selector"] for d in after]


def test_the_migration_runs_before_the_pods_of_a_release_as_the_owner_of_the_tables():
    (job,) = of_kind("Job", MOST)
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    sources = [
        source["secretRef"]["name"]
        for source in container(pods(MOST)["migrate"])["envFrom"]
        if "secretRef" in source
    ]
    # If two sources set a variable, Kubernetes takes the later one.
    assert sources == ["playhead", "playhead-owner"]
    assert "playhead-owner" not in json.dumps([pods(MOST)["server"], pods(MOST)["worker"]])
    # A hook runs before the chart's service account exists.
    assert "serviceAccountName" not in pods(MOST)["migrate"]


def test_helm_test_runs_the_doctor_with_the_settings_of_the_pods():
    (pod,) = of_kind("Pod", MOST)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["metadata"]["annotations"]["example.com/owner"] == "documents"
    doctor, worker = container(pod["spec"]), container(pods(MOST)["worker"])
    assert doctor["args"] == ["doctor"]
    assert (doctor["envFrom"], doctor["env"]) == (worker["envFrom"], worker["env"])
    assert (doctor["volumeMounts"], pod["spec"]["volumes"]) == (
        worker["volumeMounts"],
        pods(MOST)["worker"]["volumes"],
    )
    assert pod["spec"]["serviceAccountName"] == pods(MOST)["worker"]["serviceAccountName"]


def test_servers_accept_no_other_namespaces_and_workers_accept_no_connections():
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind("NetworkPolicy", LEAST)}
    assert policies["demo-playhead-worker"]["ingress"] == []
    (rule,) = policies["demo-playhead-server"]["ingress"]
    assert rule["from"] == [{"podSelector": {}}]


# -- scaling ---------------------------------------------------------------------------------------


def triggers(values: dict[str, Any]) -> list[dict[str, Any]]:
    (scaled,) = of_kind("ScaledObject", values)
    (worker,) = (d for d in of_kind("Deployment", values) if d["metadata"]["name"].endswith("-worker"))
    assert scaled["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    # Two controllers that set the number of workers would undo each other's changes.
    assert "replicas" not in worker["spec"]
    found: list[dict[str, Any]] = scaled["spec"]["triggers"]
    return found


def test_the_values_set_the_number_of_workers_unless_keda_does():
    (worker,) = (d for d in of_kind("Deployment", LEAST) if d["metadata"]["name"].endswith("-worker"))
    assert worker["spec"]["replicas"] == 2
    assert of_kind("ScaledObject", LEAST) == []


def test_keda_reads_the_depth_of_each_rabbitmq_queue():
    values = {**ALL["rabbitmq"], "settings": {"QUEUE_PREFIX": "eu."}}
    names = [t["metadata"]["queueName"] for t in triggers(values)]
    assert names == [
        f"eu.docs.{route}{level}" for route in ("convert", "index_all") for level in ("", ":bulk")
    ]
    (authentication,) = of_kind("TriggerAuthentication", values)
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "host", "name": "playhead", "key": "PLAYHEAD_BROKER"}
    ]
    assert {t["authenticationRef"]["name"] for t in triggers(values)} == {authentication["metadata"]["name"]}


def test_keda_uses_the_streams_and_consumers_that_the_broker_creates_in_nats():
    values = {**ALL["nats"], "settings": {"QUEUE_PREFIX": "eu_"}}
    assert [(t["metadata"]["stream"], t["metadata"]["consumer"]) for t in triggers(values)] == [
        (stream_of(f"eu_{queue}"), consumer)
        for queue in values["keda"]["queues"]
        for consumer in (CONSUMER, BULK_CONSUMER)
    ]
    assert of_kind("TriggerAuthentication", values) == []


@pytest.mark.parametrize("trigger", ["nats", "rabbitmq"])
def test_keda_gets_the_queue_prefix_from_a_secret(trigger: str):
    by_setting = {**ALL[trigger], "settings": {"QUEUE_PREFIX": "eu."}}
    by_value = {**LEAST, "keda": {**ALL[trigger]["keda"], "queuePrefix": "eu."}}
    assert triggers(by_value) == triggers(by_setting) != triggers(ALL[trigger])


def test_keda_uses_its_own_postgresql_secret_if_one_is_named():
    values = {**LEAST, "keda": {"enabled": True, "postgresql": {"secretName": "reader", "key": "URL"}}}
    (trigger,) = triggers(values)
    assert trigger["type"] == "postgresql"
    (authentication,) = of_kind("TriggerAuthentication", values)
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "connection", "name": "reader", "key": "URL"}
    ]
