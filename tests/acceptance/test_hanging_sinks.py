"""Sinks whose calls never return delay neither other sinks, nor messages, nor the end of their process."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead.adapters.sqlite_search import search
from tests.acceptance.hanging_steps import CALLED
from tests.acceptance.processes import open_deployment

CONFIG = """
version: "1.0"
name: docs
entry: convert
datasets: {first: {routes: [first]}, second: {routes: [second]}, third: {routes: [third]}}
routes:
  convert: {adapters: [{type: passthrough}], outbound: {stage: md, to: [first, second, third]}}
  first: {adapters: [{type: hangs}]}
  second: {adapters: [{type: blocks}]}
  third: {adapters: [{type: sqlite_search, config: {path: search.db}}]}
"""


@pytest.mark.slow
def test_hanging_sinks_delay_nothing_but_themselves():
    with open_deployment(adapters=Path(__file__).with_name("hanging_steps.py")) as site:
        site.serve()
        worker = site.worker()
        site.apply(CONFIG)
        run = site.run("docs", {"a": b"words"})
        site.ended(run)
        for dataset in ("first", "second"):
            site.post(f"/datasets/{dataset}/publications", json={"executions": [run]})
        for sink in ("hangs", "blocks"):
            site.until((site.data / CALLED.format(sink)).exists, f"the sink {sink} to be called")
        site.cli("publish", "third", run)
        site.until(
            lambda: site.get("/datasets/third")["sinks"][0]["shown"] == 1, "the third sink to be switched"
        )
        assert [one.path for one in search(site.data / "search.db", "words")] == ["a"]
        assert site.ended(site.run("docs", {"b": b"words"}))["counts"]["failed"] == 0
        for name in ("first", "second"):
            assert site.get(f"/datasets/{name}")["draft"]["state"] == "staging"
        for process in site.processes:
            if process.code is None:
                assert process.stop() == 0, process.name
        assert worker.code == 0
