"""The sinks while workers are killed and a replay writes the same documents: one row each, the newest."""

from __future__ import annotations

import json
import sqlite3

import pyarrow.dataset
import pytest

from tests.acceptance.processes import Deployment, open_deployment

FILES, RECORDS = 10, 100
PATHS = {f"f{file}/{n:03}.json" for file in range(FILES) for n in range(RECORDS)}
CONFIG = """
version: "1.0"
name: sinks
entry: split
error_handling: {max_attempts: 20, retry_delay_seconds: 0.1}
routes:
  split:
    adapters: [{type: jsonl_split, config: {path_field: id}}]
    outbound: {stage: records, to: [vectors, rows, words]}
  vectors: {adapters: [{type: sqlite_vectors, config: {path: vectors.db}}]}
  rows: {adapters: [{type: parquet_sink, config: {path: rows, replace: folder, columns: {text: text}}}]}
  words: {adapters: [{type: sqlite_search, config: {path: words.db}}]}
"""


def running(site: Deployment) -> bool:
    """Return whether a worker processes a message of a sink."""
    return bool(site.rows("SELECT 1 FROM messages WHERE state = 1 AND parent IS NOT NULL LIMIT 1"))


@pytest.mark.slow
def test_each_document_has_one_row_of_the_newest_execution_although_workers_are_killed():
    inputs = {
        f"f{file}.jsonl": "\n".join(
            json.dumps({"id": str(n).zfill(3), "text": f"words {n}", "vector": [n + 1, 1]})
            for n in range(RECORDS)
        ).encode()
        for file in range(FILES)
    }
    with open_deployment() as site:
        site.serve()
        site.apply(CONFIG)
        workers = [site.worker(), site.worker()]
        run = site.run("sinks", inputs)
        for kill in range(6):
            site.until(lambda: running(site), "a worker to process messages of a sink")
            if kill == 2:
                replay = site.replay(run, "input", "sinks/split")["execution_id"]
            workers[kill % 2].kill()
            workers[kill % 2] = site.worker()
        for execution in (run, replay):
            counts = site.ended(execution)["counts"]
            assert (counts["completed"], counts["failed"]) == (FILES + 3 * len(PATHS), 0)
        ((repeated,),) = site.rows("SELECT count(*) FROM messages WHERE attempt > 1")
        assert repeated > 0, "no worker was killed while it processed a message"
        for worker in workers:
            worker.stop()
        vectors = sqlite3.connect(site.data / "vectors.db").execute("SELECT path, execution_id FROM vector")
        assert sorted(vectors) == [(path, replay) for path in sorted(PATHS)]
        rows = pyarrow.dataset.dataset(site.data / "rows", format="parquet").to_table().to_pylist()
        assert sorted((row["path"], row["execution_id"]) for row in rows) == [
            (path, replay) for path in sorted(PATHS)
        ]
        words = sqlite3.connect(site.data / "words.db").execute("SELECT execution_id, path FROM entry")
        assert sorted(words) == [(execution, path) for execution in (run, replay) for path in sorted(PATHS)]
