"""Two servers on one PostgreSQL: many publishers and rollbacks at once, and what they were answered."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests import servers
from tests.acceptance.deployments import KINDS, ServerDeployment, Urls, open_server_deployment
from tests.acceptance.processes import client

_CONFIG: Final = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: loud}
datasets: {docs: {keep: 20}}
"""
_INPUTS: Final = {f"page{n}.txt": f"the text of page {n}".encode() for n in range(20)}
_REPLAYS: Final = 6
_REFUSALS: Final = {"publication_in_progress", "publication_moved", "older_results", "publication_dropped"}
"""What publishers and rollbacks may be answered. A publisher names an older replay at times."""


@dataclass
class _Clients:
    """The clients, and what they were answered."""

    at: ServerDeployment
    urls: Sequence[str]
    replays: Sequence[str]
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def publish(self, seed: int, times: int) -> None:
        """Publish this number of times; a client that finds another draft asks again."""
        chosen, done = random.Random(seed), 0
        while done < times:
            body = {"executions": [chosen.choice(self.replays)], "allow": chosen.choice([["older"], []])}
            with client(f"{chosen.choice(self.urls)}/api/v1") as http:
                found = http.post("/datasets/docs/publications", json=body).json()
                while found.get("state") not in (None, "published", "abandoned"):
                    time.sleep(0.02)
                    found = http.get(f"/datasets/docs/publications/{found['n']}").json()
            done += found.get("state") == "published"
            self._note("published", found)
            time.sleep(chosen.random() / 10)

    def roll_back(self, seed: int, times: int) -> None:
        chosen = random.Random(seed)
        for _ in range(times):
            with client(f"{chosen.choice(self.urls)}/api/v1") as http:
                listed = http.get("/datasets/docs/publications").json()["items"]
                kept = [one["n"] for one in listed if one["state"] == "published"]
                answer = http.post("/datasets/docs/rollback", json={"to": chosen.choice(kept)})
            self._note("rolled back", answer.json())
            time.sleep(chosen.random())

    def _note(self, done: str, found: dict[str, Any]) -> None:
        code = found.get("error_code") or (found.get("refusal") or {}).get("code")
        self.answers[code or done] += 1
        if code and code not in _REFUSALS:
            self.wrong.append(f"{code}: {found}")


def publishers(*, count: int, rollbacks: int, times: int) -> list[str]:
    """Print one line, and return what is wrong."""
    kind = KINDS["nats"]
    urls = Urls.of(kind, {name: servers.server(name) for name in kind.servers})
    with open_server_deployment(
        urls, HEARTBEAT_SECONDS="0.5", LEASE_SECONDS="10", VISIBILITY_SECONDS="10"
    ) as made:
        ends = [made.serve().url for _ in range(2)]
        made.worker()
        made.apply(_CONFIG)
        run = made.run("docs", _INPUTS)
        made.ended(run)
        replays = [made.replay(run, "input", "shout")["execution_id"] for _ in range(_REPLAYS)]
        for one in replays:
            made.ended(one)
        clients = _Clients(made, ends, replays)
        made.post("/datasets/docs/publications", json={"executions": [run]})
        made.until(lambda: made.get("/datasets/docs")["current"], "the first publication")
        works = [(clients.publish, n) for n in range(count)] + [
            (clients.roll_back, n) for n in range(rollbacks)
        ]
        threads = [threading.Thread(target=work, args=(seed, times)) for work, seed in works]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        wrong = [*clients.wrong, *_left(made, clients.answers)]
    answers = ", ".join(f"{number} {what}" for what, number in clients.answers.most_common())
    print(
        f"{count} publishers and {rollbacks} rollbacks at once on 2 servers in {seconds:.0f} s: {answers}; "
        f"{len(wrong)} other errors, open drafts or wrong switches"
    )
    return wrong


def _left(made: ServerDeployment, answers: Counter[str]) -> list[str]:
    """Return what differs from the answers: an open draft, a lost switch, or wrong content."""
    made.until(lambda: made.get("/datasets/docs")["draft"] is None or None, "the end of the last draft")
    found = made.get("/datasets/docs")
    wrong = []
    switches = {
        kind: made.rows("SELECT count(*) AS n FROM switches WHERE kind = ?", kind)[0]["n"]
        for kind in ("publish", "rollback")
    }
    if switches["publish"] != answers["published"] + 1:
        wrong.append(f"{switches['publish']} decisions for {answers['published']} answers")
    if sum(switches.values()) != found["seq"]:
        wrong.append(f"switch {found['seq']}, but there are {switches}")
    [last] = made.get("/datasets/docs/switches", limit=1)["items"]
    if last["n"] != found["current"]:
        wrong.append(f"switch to {last['n']}, but {found['current']} is current")
    part = made.get(f"/datasets/docs/publications/{found['current']}")["parts"][-1]["execution_id"]
    listed = list(made.items("/datasets/docs/objects", stage="loud"))
    if {one["key"].partition("/")[0] for one in listed} != {part} or len(listed) != len(_INPUTS):
        wrong.append(f"objects of {found['current']} are not those of {part}")
    if open_rows := made.rows(
        "SELECT n FROM publications WHERE state NOT IN ('published', 'abandoned', 'dropped')"
    ):
        wrong.append(f"open drafts: {open_rows}")
    return wrong
