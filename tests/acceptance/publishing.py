"""A deployment whose dataset has a sink of each kind, with readers that look for mixtures, and kills.

The parts of its publications are a run and replays of all of its inputs. So a reader that sees results of two
executions at once, or not one for each input, has seen a mixture.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from playhead.adapters.sqlite_search import search
from playhead.ids import uuid7
from tests.acceptance.brokers import looking, query
from tests.acceptance.pipelines import BULK
from tests.acceptance.processes import STEPS, Deployment, client, open_deployment, variables
from tests.acceptance.stand import Job, Stand, Who, reading

INPUTS: Final = BULK.inputs
_CONFIG: Final = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: loud, to: [index, near, table]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
  near:
    adapters: [{type: one_vector}, {type: sqlite_vectors, config: {path: vectors.db}}]
  table:
    adapters: [{type: one_vector}, {type: postgres_vectors, config: {url: "${env:VECTORS_URL}"}}]
datasets: {docs: {keep: KEEP}}
"""
SINKS: Final = ("index", "near", "table")
READERS: Final = ("catalog", *SINKS)

DROPS: Final = ("drop.marked", "drop.page", "sink.forgot:1", "sink.forgot:3")
CASES: Final = (
    *("publication.begun", "publication.undone", "publication.rewound"),
    *("publication.written:1", "publication.written:2", "publication.written:3"),
    *("publication.resolved", "publication.finished", "publication.staged", "publication.decided"),
    *(f"sink.{what}:{n}" for what in ("staged", "switched") for n in (1, 2, 3)),
    *DROPS,
)
_DROPS_SOON: Final = {"LEASE_SECONDS": "1"}
"""Drops begin once in four times `lease_seconds`."""

Seen = Counter[str]
"""How many results of each execution a reader saw at once."""


@dataclass
class Reads:
    """What readers saw, each entry by one statement or one page.

    Attributes:
        mixtures: what no publication has.
    """

    whole: int
    count: int = 0
    mixtures: list[str] = field(default_factory=list)

    def note(self, sink: str, seen: Seen) -> None:
        self.count += 1
        if list(seen.values()) != [self.whole]:
            self.mixtures.append(f"{sink}: {dict(seen)}")


class Publishing:
    """The deployment, with a finished run. Close its processes with the deployment.

    Attributes:
        vectors: the database of the table.
        run: id of the run of all inputs.
    """

    def __init__(
        self, deployment: Deployment, vectors: str, *, inputs: Mapping[str, bytes] = INPUTS, keep: int = 5
    ) -> None:
        self.deployment = deployment
        self.vectors = vectors
        self.inputs = inputs
        self.stand = Stand(deployment)
        self.stand.start()
        deployment.apply(_CONFIG.replace("KEEP", str(keep)))
        self.run = self.stand.finished("docs", inputs)

    def replay(self) -> str:
        """Replay all inputs; return the execution when it has ended."""
        answer = self.deployment.replay(self.run, "input", "shout")
        return str(self.deployment.ended(answer["execution_id"])["execution_id"])

    def dataset(self) -> Any:
        return self.deployment.get("/datasets/docs")

    def _publishing(self, execution: str) -> Job:
        command = ("publish", "docs", execution, "--allow-older")
        body = {"executions": [execution], "allow": ["older"]}
        return Job(command, "/datasets/docs/publications", body)

    def publish(self, execution: str) -> None:
        """Publish, and return when readers of the catalog see it."""
        self.deployment.cli(*self._publishing(execution).command)

    def begin(self, execution: str) -> Any:
        """Let the server publish; return the draft."""
        job = self._publishing(execution)
        return self.deployment.post(job.path, json=job.body)

    def roll_back(self, n: int) -> None:
        self.deployment.post("/datasets/docs/rollback", json={"to": n})

    def is_settled(self) -> bool:
        """Whether no draft is open, and each sink shows what is current."""
        found = self.dataset()
        return found["draft"] is None and all(one["seq"] == found["seq"] for one in found["sinks"])

    def settled(self) -> None:
        self.deployment.until(lambda: self.is_settled() or None, "the sinks to show what is current")

    # -- readers -----------------------------------------------------------------------------------

    @contextmanager
    def reader(self, of: str) -> Iterator[Callable[[], Seen]]:
        """Yield a function that reads the catalog, or a sink by its route, in one page or statement."""
        counted = "SELECT execution_id, count(*) FROM"
        data, limit = self.deployment.data, len(self.inputs) + 1
        if of == "catalog":
            with client("http://playhead") as http:
                yield lambda: self._listed(http)
        elif of == "index":
            yield lambda: Counter(
                str(one.execution_id) for one in search(data / "search.db", "text", limit=limit)
            )
        elif of == "near":
            with closing(sqlite3.connect(data / "vectors.db", timeout=60, check_same_thread=False)) as db:
                yield lambda: Counter(dict(db.execute(f"{counted} vector_current GROUP BY 1").fetchall()))
        else:
            as_json = (
                "SELECT coalesce(json_object_agg(execution_id, rows), '{}') FROM (SELECT execution_id, "
                "count(*) AS rows FROM playhead_vectors_current GROUP BY 1) AS found"
            )
            with looking(self.vectors) as value:
                yield lambda: Counter(json.loads(str(value(as_json))))

    def _listed(self, http: httpx.Client, n: int | None = None) -> Seen:
        """Return what one page lists."""
        given = {"stage": "loud", "limit": "1000"} | ({"at": str(n)} if n else {})
        answer = http.get(f"{self.deployment.url}/api/v1/datasets/docs/objects", params=given)
        assert answer.status_code == 200, answer.text
        return Counter(one["key"].partition("/")[0] for one in answer.json()["items"])

    def seen(self, of: str = "catalog", n: int | None = None) -> set[str]:
        """Return the one execution whose results readers see."""
        if n:
            with client("http://playhead") as http:
                found = self._listed(http, n)
        else:
            with self.reader(of) as read:
                found = read()
        assert list(found.values()) == [len(self.inputs)], f"{of}: {dict(found)}"
        return set(found)

    @contextmanager
    def readers(self) -> Iterator[Reads]:
        """Read the catalog and each sink all the time."""
        reads = Reads(len(self.inputs))

        def read_all(readers: Mapping[str, Callable[[], Seen]]) -> None:
            for of, read in readers.items():
                with suppress(httpx.TransportError):  # no server is running
                    reads.note(of, read())

        @contextmanager
        def all_readers() -> Iterator[Callable[[], None]]:
            with ExitStack() as stack:
                readers = {of: stack.enter_context(self.reader(of)) for of in READERS}
                yield partial(read_all, readers)

        with reading(all_readers()):
            yield reads

    # -- what must be left -------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Return how sinks and entries differ from what is published: parts of drafts that have ended."""
        found = [
            f"{row['open']} open entries of {row['stage']}"
            for row in self.deployment.rows(
                "SELECT stage, count(*) AS open FROM published WHERE last IS NULL GROUP BY stage"
            )
            if row["open"] != len(self.inputs)
        ]
        self.deployment.post("/datasets/docs/index/check", json={})

        def checked() -> Any:
            sinks = self.dataset()["sinks"]
            return None if any(one["is_checked"] for one in sinks) else sinks

        for one in self.deployment.until(checked, "the check of the sinks"):
            check = one["check"]
            if check["missing"] or check["left_over"]:
                found.append(f"{one['route']}: {check['missing']} missing, {check['left_over']} left over")
        return found


# -- kills -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kill:
    """What was found after a kill.

    Attributes:
        left: what differs from an undisturbed publication after the end.
        seconds: from the kill until every reader saw the publication.
    """

    reads: Reads
    left: Sequence[str]
    seconds: float


class Killing(Publishing):
    """Publishes a run and a replay in turn, and kills the process that does it."""

    def __init__(self, deployment: Deployment, vectors: str) -> None:
        super().__init__(deployment, vectors, keep=1)
        self.other = self.replay()
        self.publish(self.run)

    def kill(self, case: str, who: Who = "cli") -> Kill:
        """Kill a process at a point, and wait until everything has ended without help."""
        return self.kill_a_drop(case) if case in DROPS else self._kill_a_publication(case, who)

    def _kill_a_publication(self, case: str, who: Who) -> Kill:
        self.settled()
        with self.readers() as reads:
            # A command does all of this itself. Other processes would write to sinks, too.
            alone = who != "cli" or not case.startswith("publication.")
            wanted = self._strike(case, who, alone=alone)
            began = time.monotonic()
            if alone:
                self.stand.start()
            self.settled()
        seconds = time.monotonic() - began
        return Kill(reads, self._left(wanted), seconds)

    def _strike(self, case: str, who: Who, *, alone: bool) -> str:
        """Let a process die that publishes, and return what it has published."""
        wanted = self.other if self.seen() == {self.run} else self.run
        job = self._publishing(wanted)
        if case == "publication.undone":  # an abandoned draft has left entries
            self.stand.strike("cli", "publication.written:2", job, alone=alone)
            self.deployment.cli("publications", "cancel", "docs")
        elif case == "publication.rewound":
            before = self.dataset()["current"]
            self.publish(wanted)
            self.deployment.cli("rollback", "docs", "--to", str(before))
        self.stand.strike(who, case, job, alone=alone)
        return wanted

    def kill_a_drop(self, *cases: str) -> Kill:
        """Kill at each of these points the process that continues a drop; the last one ends it."""
        deployment = self.deployment
        self.stand.end()  # so that no other process drops before
        for execution in (self.run, self.other, self.run):
            self.publish(execution)
        with self.readers() as reads:
            for case in cases:
                deployment.struck(deployment.serve(fault=case, settings=_DROPS_SOON))
                deployment.forget()
            began = time.monotonic()
            self.stand.start(_DROPS_SOON)
            deployment.until(lambda: not self._undropped() or None, "the end of the drop")
            self.settled()
        seconds = time.monotonic() - began
        kept = [one["n"] for one in deployment.items("/datasets/docs/publications")]
        wrong = [] if len(kept) == 2 else [f"these are kept: {kept}"]
        if self.seen(n=min(kept)) != {self.other}:
            wrong.append(f"publication {min(kept)} has changed")
        return Kill(reads, [*wrong, *self._left(self.run)], seconds)

    def _undropped(self) -> list[Any]:
        """Return publications that should be dropped, or whose entries should be deleted."""
        rows = self.deployment.rows
        dropped = rows("SELECT n FROM publications WHERE state = 'dropped' AND NOT swept")
        kept = rows("SELECT n FROM publications WHERE state = 'published'")
        forgetting = rows("SELECT route FROM sinks WHERE must_forget")
        return dropped or kept[2:] or forgetting

    def _left(self, wanted: str) -> list[str]:
        shows = {of: self.seen(of) for of in READERS}
        wrong = [f"{of} shows {seen}, not {wanted}" for of, seen in shows.items() if seen != {wanted}]
        self.deployment.forget()
        return wrong + self.leftovers()


@contextmanager
def vectors_of(server: str) -> Iterator[str]:
    """Create a database for a table of vectors on a PostgreSQL server, and drop it at the end."""
    name = f"vectors_{uuid7().hex}"
    query(server, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        query(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def open_publishing(server: str, **settings: str) -> Iterator[tuple[Deployment, str]]:
    """Open a deployment that can write to a database of a PostgreSQL server; yield it and the database."""
    own = {
        "ADAPTERS": f"{STEPS},{Path(__file__).with_name('publishing_steps.py')}",
        "SECRETS_ENV": "VECTORS_URL",
        "INTERNAL_HOSTS": "127.0.0.0/8",
        **settings,
    }
    with vectors_of(server) as vectors, open_deployment() as deployment:
        deployment.environment = {**deployment.environment, **variables(own), "VECTORS_URL": vectors}
        yield deployment, vectors


@contextmanager
def open_killing(server: str, *, lease: int) -> Iterator[Killing]:
    """Open a deployment whose table is on a PostgreSQL server.

    Args:
        lease: seconds. A command that is to be killed must keep its draft until then.
    """
    with open_publishing(server, LEASE_SECONDS=str(lease)) as (deployment, vectors):
        yield Killing(deployment, vectors)
