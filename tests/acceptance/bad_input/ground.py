"""A home with some executions, its server, and a count of its content.

A row of a table has a request and the expected answer. The content of the home must be the same afterwards,
unless the row says otherwise.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from tests.acceptance.processes import DEADLINE_SECONDS, Deployment
from tests.stored import put, stored

UNKNOWN: Final = "01890000-0000-7000-8000-000000000000"
NIL: Final = "00000000-0000-0000-0000-000000000000"
USED_KEY: Final = "used"
"""An Idempotency-Key: the replay of this home was started with it."""
MAX_BODY: Final = 1_048_576
MAX_UPLOAD: Final = 2_000_000
MAX_OBJECT: Final = 100_000

STEPS = """
from playhead import Item, adapter


@adapter("shout", produces="text/plain")
def shout(item: Item) -> str:
    return item.text.upper()


@adapter("secret")
def secret(item: Item) -> None:
    raise AssertionError("the operator did not allow it")
"""
ALLOWED: Final = "shout,copy,tuned,send"

_DOCS = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: shouted, to: [both]}
  both:
    external: true
  theirs:
    external: true
datasets: {shown: {}}
"""
_UNSEEN = """
version: "1.0"
name: {name}
entry: shout
routes:
  shout:
    adapters: [{{type: shout}}]
    outbound: {{stage: shouted}}
datasets: {{unseen: {{}}}}
"""
_NAMED = """
version: "1.0"
name: {name}
entry: both
routes:
  both:
    external: true
"""
_IDLE = ("processes", "leases", "codes", "adapter_codes", "minutes", "samples")
"""Tables in which living processes write all the time, or when they start. The index of Find is one."""


class Census(NamedTuple):
    """All that is there: rows by table, and states of executions; files with their sizes."""

    rows: Mapping[str, int]
    states: Mapping[str, int]
    files: Mapping[str, int]


def census(home: Path) -> Census:
    """Recount the content of a home, including temporary files."""
    with closing(sqlite3.connect(f"file:{home}/playhead.db?mode=ro", uri=True)) as con:
        tables = [
            name
            for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in _IDLE and not name.startswith(("sqlite_", "term"))
        ]
        rows = {name: con.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        states = dict(con.execute("SELECT status, count(*) FROM executions GROUP BY status"))
    kept = [path for top in ("objects/.tmp", "data") for path in (home / top).rglob("*") if path.is_file()]
    files = {str(path.relative_to(home)): path.stat().st_size for path in kept}
    objects = {key: len(data) for key, data in stored(home / "objects").items()}
    return Census(rows, states, files | objects)


class Ground:
    """A deployment on which runs and replays have ended, and one of the runs is published.

    Attributes:
        names: what the words in capitals in a row stand for.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        folder = deployment.folder
        pages = folder / "pages"
        pages.mkdir()
        (pages / "a.txt").write_text("one")
        (pages / "b.txt").write_text("two")
        sources = {"docs": _DOCS, "other": _NAMED.format(name="other"), "idle": _NAMED.format(name="idle")}
        sources |= {name: _UNSEEN.format(name=name) for name in ("spare", "twin")}
        for name, source in sources.items():
            (folder / f"{name}.yaml").write_text(source)
        deployment.serve()
        deployment.worker()
        for source in sources.values():
            deployment.apply(source)
        deployment.post("/configs/idle/deactivate")
        older = deployment.run("docs", {"a.txt": b"old", "z.txt": b"gone"})
        deployment.ended(older)
        superseded = deployment.replay(older, "input", "shout", "a.txt")
        removed = deployment.replay(older, "input", "shout", "z.txt")
        for one in (superseded, removed):
            deployment.ended(one["execution_id"])
        run = deployment.run("docs", {"a.txt": b"one", "b.txt": b"two"})
        deployment.ended(run)
        replay = deployment.replay(run, "shouted", "theirs", headers={"Idempotency-Key": USED_KEY})
        deployment.ended(replay["execution_id"])
        request = {"from_execution_id": run, "from_stage": "shouted", "to_route": "theirs"}
        plan = deployment.post("/replay/plan", json=request)
        external = f"{run}/shouted/external.txt"
        put(deployment.objects, external, b"x")
        changed = deployment.post("/replay/plan", json=request)
        (deployment.objects / external).unlink()
        refused = httpx.post(
            f"{deployment.url}/api/v1/replay",
            json={"plan_id": changed["plan_id"]},
            timeout=DEADLINE_SECONDS,
            trust_env=False,
        )
        assert refused.status_code == 409, refused.text
        deployment.post("/datasets/shown/publications", json={"executions": [run]})
        shown = "/datasets/shown/publications/1"
        deployment.until(lambda: deployment.get(shown)["state"] == "published", "the publication")
        [message, *_] = deployment.items(f"/executions/{run}/lineage")
        self.names = {
            "RUN": run,
            "URN": f"urn:uuid:{run}",
            "UPPER": run.upper(),
            "PLAIN": run.replace("-", ""),
            "UNKNOWN": UNKNOWN,
            "NIL": NIL,
            "BATCH": replay["replay_batch_id"],
            "REPLAYED": replay["execution_id"],
            "MESSAGE": message["correlation_id"],
            "PLAN": plan["plan_id"],
            "CHANGED": changed["plan_id"],
            "OLDER": older,
            "SUPERSEDED": superseded["execution_id"],
            "REMOVED": removed["execution_id"],
            "PUBLICATION": deployment.get(shown)["execution_id"],
            "SHARED": "both",
            "URL": deployment.url,
        }
        self._http = httpx.Client(base_url=deployment.url, timeout=DEADLINE_SECONDS, trust_env=False)
        self._settled()
        self.before = census(deployment.home)

    def _settled(self) -> None:
        """Wait until the last ack is in, the last job closed, and the last report stored."""
        held = "SELECT 1 FROM dispatches d JOIN queues q ON q.id = d.queue WHERE q.name = 'docs.shout'"
        open_jobs = "SELECT 1 FROM jobs WHERE state IN ('uploading', 'checking', 'publishing')"
        used = "SELECT 1 FROM plan_pages g JOIN plans p ON p.n = g.plan WHERE p.state = 'used'"
        reports = "SELECT 1 FROM jobs WHERE report = 1"
        left = (held, open_jobs, "SELECT 1 FROM executions WHERE NOT settled", used, reports)
        self.deployment.until(lambda: not any(map(self.deployment.rows, left)), "all to be done")

    def said(self, text: str) -> str:
        """Text with the names in it put in."""
        return re.sub(r"\b[A-Z]{3,}\b", lambda m: self.names.get(m[0], m[0]), text)

    def request(self, method: str, path: str, sent: Mapping[str, Any]) -> httpx.Response:
        return self._http.request(method, self.said(path), **sent)

    def close(self) -> None:
        self._http.close()

    def nothing_was_left(self) -> None:
        """Fail when anything is there that was not, or the other way round."""
        before, self.before = self.before, census(self.deployment.home)
        changed = [
            f"{kind} {name}: {was.get(name)} became {now.get(name)}"
            for kind, was, now in zip(Census._fields, before, self.before, strict=True)
            for name in sorted({*was, *now})
            if was.get(name) != now.get(name)
        ]
        assert not changed, "\n".join(changed)


def filled(value: Any, ground: Ground) -> Any:
    """A body with the names in it put in."""
    if isinstance(value, str):
        return ground.said(value)
    if isinstance(value, dict):
        return {key: filled(item, ground) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, ground) for item in value]
    return value


def give_up_power(deployment: Deployment) -> None:
    """Let the next processes of a deployment run without root's power over permissions."""
    if os.geteuid() == 0:
        deployment.folder.chmod(0o755)
        deployment.user = 65534
