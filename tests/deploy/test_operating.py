"""docs/howto/operating.md: its alerts ask for what there is, and each of them says what to do."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from playhead import events
from playhead.api.metrics import METRICS
from tests.deploy.test_chart import LEAST, container, of_kind, pods
from tests.deploy.tools import ROOT

PAGE: Final = (ROOT / "docs" / "howto" / "operating.md").read_text(encoding="utf-8")
BLOCKS: Final[list[Any]] = [
    yaml.safe_load(body) for body in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
LABELS: Final = {metric.name: {*metric.labels} for metric in METRICS}


def alerts() -> dict[str, str]:
    """What each alert asks, by its name."""
    (groups,) = (block["groups"] for block in BLOCKS if "groups" in block)
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def questions() -> list[str]:
    return [*alerts().values(), *re.findall(r"^\| .*? \| `(.*)` \|$", PAGE, re.MULTILINE)]


def metric(name: str) -> set[str]:
    """The labels of a metric, also by the names that a histogram's parts have."""
    part = re.sub(r"_(bucket|count|sum)$", "", name)
    return LABELS[name] if name in LABELS else LABELS[part] | {"le"}


def test_every_metric_and_label_that_is_asked_for_is_there():
    asked = [question for question in questions() if "playhead_" in question]
    assert len(asked) >= len(alerts()) >= 7
    for question in asked:
        names = re.findall(r"\bplayhead_\w+", question)
        known = set().union(*(metric(name) for name in names))
        by = {label.strip() for found in re.findall(r"by \((.*?)\)", question) for label in found.split(",")}
        chosen = set(re.findall(r"(\w+)=~?\"", question)) - {"job"}  # the scraper's own
        assert by | chosen <= known, question


def test_each_alert_says_where_to_look_and_what_to_do():
    (night,) = re.findall(r"^## Respond to an alert$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\| `(Playhead\w+)` \|", night, re.MULTILINE) == list(alerts())


def test_log_lines_that_are_to_be_looked_for_are_written():
    known = {event.name for event in events.EVENTS}
    (logs,) = re.findall(r"Create alerts for these log lines too: (.*?)\n\n?\Z", PAGE, re.DOTALL)
    (night,) = re.findall(r"^## Respond to an alert$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    looked_for = set(re.findall(r"`([a-z]+_[a-z_]+)`", logs + night))
    of_errors = {"too_many_connections", "worker_lost"}
    assert len(looked_for & known) >= 8
    assert looked_for - known == of_errors


def test_a_server_that_is_not_ready_is_scraped_and_a_worker_is_not():
    (found,) = (
        scrape
        for block in BLOCKS
        for scrape in block.get("scrape_configs", ())
        if "kubernetes_sd_configs" in scrape
    )
    # Of a Service only those that are ready are reached.
    assert [sd["role"] for sd in found["kubernetes_sd_configs"]] == ["pod"]
    (keep,) = (rule for rule in found["relabel_configs"] if rule.get("action") == "keep")
    labels = ["app.kubernetes.io/name", "app.kubernetes.io/component"]
    assert keep["source_labels"] == [
        f"__meta_kubernetes_pod_label_{re.sub(r'[^a-z]', '_', label)}" for label in labels
    ]
    kept = [
        d["metadata"]["name"]
        for d in of_kind("Deployment", LEAST)
        if re.fullmatch(
            keep["regex"], ";".join(d["spec"]["template"]["metadata"]["labels"][n] for n in labels)
        )
    ]
    assert kept == ["demo-playhead-server"]
    # One port, which it takes by itself.
    assert len(container(pods(LEAST)["server"])["ports"]) == 1
