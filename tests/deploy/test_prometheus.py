"""docs/howto/operating.md, checked by Prometheus: its configs are valid, and its alerts fire in time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.acceptance.processes import DEADLINE_SECONDS, open_deployment
from tests.deploy.checks import program, run
from tests.deploy.test_operating import BLOCKS, alerts, questions
from tests.servers import Missing, absent

WORK: Final = 'config="docs", route="work"'
OF_WORK: Final = {"config": "docs", "route": "work"}
DOCS: Final = 'config="docs", dataset="docs"'
OF_DOCS: Final = {"config": "docs", "dataset": "docs"}
#: For each alert: the series with their values every 15 s, the time until it fires, and the labels it has;
#: None if it must not fire.
CASES: Final[dict[str, list[tuple[dict[str, str], str, dict[str, str] | None]]]] = {
    "PlayheadDown": [
        ({}, "3m", {}),
        ({}, "1m", None),
        (
            {'up{job="playhead", instance="a"}': "0x20", 'playhead_build_info{instance="b"}': "1x20"},
            *("3m", {"job": "playhead", "instance": "a"}),
        ),
        ({'up{job="playhead"}': "1x20", "playhead_build_info": "1x20", 'up{job="x"}': "0x20"}, "3m", None),
    ],
    "PlayheadBackendUnavailable": [
        (
            {
                'playhead_backend_up{port="store", instance="a"}': "1x20",
                'playhead_backend_up{port="store", instance="b"}': "0x20",
            },
            *("3m", {"port": "store"}),
        ),
        ({'playhead_backend_up{port="store"}': "0x6 1x14"}, "3m", None),
    ],
    "PlayheadNoWorkers": [
        ({f"playhead_queue_depth{{{WORK}}}": "3x40"}, "6m", OF_WORK),
        ({f"playhead_queue_depth{{{WORK}}}": "3x40", f"playhead_workers{{{WORK}}}": "0x40"}, "6m", OF_WORK),
        ({f"playhead_queue_depth{{{WORK}}}": "3x40", f"playhead_workers{{{WORK}}}": "1x40"}, "6m", None),
        ({f"playhead_queue_depth{{{WORK}}}": "0x40"}, "6m", None),
    ],
    "PlayheadDeadLetters": [
        ({f"playhead_messages_dead_total{{{WORK}}}": "7x8 8x100"}, "3m", OF_WORK),
        ({f"playhead_messages_dead_total{{{WORK}}}": "7x8 8x100"}, "20m", None),
    ],
    "PlayheadDeadLettersRemain": [
        ({f'playhead_messages{{{WORK}, state="dead"}}': "1x300"}, "61m", OF_WORK),
        ({f'playhead_messages{{{WORK}, state="retry"}}': "1x300"}, "61m", None),
    ],
    "PlayheadBacklog": [
        (
            {
                f'playhead_messages{{{WORK}, state="pending"}}': "7200x300",
                f"playhead_messages_completed_total{{{WORK}}}": "0+15x300",
            },
            *("50m", OF_WORK),
        ),
        (
            {
                f'playhead_messages{{{WORK}, state="pending"}}': "3000x300",
                f"playhead_messages_completed_total{{{WORK}}}": "0+15x300",
            },
            *("50m", None),
        ),
        (
            {
                f'playhead_messages{{{WORK}, state="pending"}}': "1x300",
                f"playhead_messages_completed_total{{{WORK}}}": "0x300",
            },
            *("50m", OF_WORK),
        ),
    ],
    "PlayheadDatasetHeld": [
        (
            {
                f"playhead_dataset_held{{{DOCS}}}": "1x3000",
                f"playhead_dataset_unpublished{{{DOCS}}}": "2x3000",
            },
            *("721m", OF_DOCS),
        ),
        (
            {
                f"playhead_dataset_held{{{DOCS}}}": "1x3000",
                f"playhead_dataset_unpublished{{{DOCS}}}": "0x3000",
            },
            *("721m", None),
        ),
    ],
    "PlayheadKeyEnds": [
        ({'playhead_key_seconds{key="ci", instance="a"}': "604900-15x20"}, "3m", {"key": "ci"}),
        ({'playhead_key_seconds{key="ci", instance="a"}': "900000-15x20"}, "3m", None),
    ],
    "PlayheadIndexBehind": [
        (
            {f'playhead_sink_lag_seconds{{{DOCS}, route="index"}}': "310x9"},
            "1m",
            OF_DOCS | {"route": "index"},
        ),
        ({f'playhead_sink_lag_seconds{{{DOCS}, route="index"}}': "10x9"}, "1m", None),
    ],
    "PlayheadServerErrors": [
        (
            {
                'playhead_http_requests_total{status="200"}': "0+95x60",
                'playhead_http_requests_total{status="503"}': "0+5x60",
            },
            *("14m", {}),
        ),
        (
            {
                'playhead_http_requests_total{status="200"}': "0+99x60",
                'playhead_http_requests_total{status="404"}': "0+99x60",
                'playhead_http_requests_total{status="500"}': "0+1x60",
            },
            *("14m", None),
        ),
    ],
}


@pytest.fixture
def promtool() -> str:
    try:
        return program("promtool", "prometheus")
    except Missing as exc:
        absent(exc)


def written(folder: Path, name: str, content: Any) -> str:
    (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(folder / name)


def rules() -> Any:
    (found,) = (block for block in BLOCKS if "groups" in block)
    return found


def test_the_documented_configs_are_valid(promtool, tmp_path):
    scrapes = [block for block in BLOCKS if "scrape_configs" in block]
    assert len(scrapes) == 2
    # A query is valid if it is valid in a rule.
    asked = [{"record": f"question:{n}", "expr": text} for n, text in enumerate(questions()) if "(" in text]
    written(tmp_path, "alerts.yml", rules())
    written(tmp_path, "questions.yml", {"groups": [{"name": "questions", "rules": asked}]})
    for n, scrape in enumerate(scrapes):
        named = written(tmp_path, f"{n}.yml", scrape | {"rule_files": ["alerts.yml", "questions.yml"]})
        done = run(promtool, "check", "config", "--lint-fatal", named)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_after_its_time_and_not_before(promtool, tmp_path):
    assert CASES.keys() == alerts().keys()
    tests = [
        {
            "interval": "15s",
            "name": f"{alert} {at} {series}",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [
                {
                    "alertname": alert,
                    "eval_time": at,
                    "exp_alerts": [] if named is None else [{"exp_labels": named}],
                }
            ],
        }
        for alert, cases in CASES.items()
        for series, at, named in cases
    ]
    written(tmp_path, "alerts.yml", rules())
    trial = {"rule_files": ["alerts.yml"], "evaluation_interval": "15s", "tests": tests}
    done = run(promtool, "test", "rules", written(tmp_path, "trial.yml", trial), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_promtool_accepts_the_metrics_of_a_server(promtool, tmp_path):
    with open_deployment() as deployment:
        deployment.serve()
        scraped = tmp_path / "metrics"
        answer = httpx.get(f"{deployment.url}/metrics", timeout=DEADLINE_SECONDS, trust_env=False)
    scraped.write_bytes(answer.content)
    done = run("sh", "-c", f"'{promtool}' check metrics <'{scraped}'")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert re.search(rb"^# TYPE playhead_messages_completed_total counter$", answer.content, re.MULTILINE)
