"""docs/howto/operating.md: its alerts use existing metrics, and each of them says what to do."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from playhead import events
from playhead.api.declared_metrics import METRICS
from tests.deploy.checks import ROOT
from tests.deploy.test_chart import LEAST, container, of_kind, pods

PAGE: Final = (ROOT / "docs" / "howto" / "operating.md").read_text(encoding="utf-8")
BLOCKS: Final[list[Any]] = [
    yaml.safe_load(body) for body in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
LABELS: Final = {metric.name: {*metric.labels} for metric in METRICS}


def alerts() -> dict[str, str]:
    """Return the expression of each alert by its name."""
    (groups,) = (block["groups"] for block in BLOCKS if "groups" in block)
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def questions() -> list[str]:
    return [*alerts().values(), *re.findall(r"^\| .*? \| `(.*)` \|$", PAGE, re.MULTILINE)]


def metric(name: str) -> set[str]:
    """Return the labels of each metric, including the series of histograms."""
    part = re.sub(r"_(bucket|count|sum)$", "", name)
    return LABELS[name] if name in LABELS else LABELS[part] | {"le"}


def test_every_metric_and_label_in_an_alert_exists():
    asked = [question for question in questions() if "playhead_" in question]
    assert len(asked) >= len(alerts()) >= 7
    for question in asked:
        names = re.findall(r"\bplayhead_\w+", question)
        known = set().union(*(metric(name) for name in names))
        by = {label.strip() for found in re.findall(r"by \((.*?)\)", question) for label in found.split(",")}
        chosen = set(re.findall(r"(\w+)=~?\"", question)) - {"job"}  # the scraper's own
        assert by | chosen <= known, question


def test_each_alert_links_to_a_section_that_says_what_to_do():
    (night,) = re.findall(r"^## Respond to an alert$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\| `(Playhead\w+)` \|", night, re.MULTILINE) == list(alerts())


def test_the_named_log_lines_exist():
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
    # A Service routes only to ready pods.
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
    # The default port of the container.
    assert len(container(pods(LEAST)["server"])["ports"]) == 1
