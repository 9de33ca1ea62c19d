"""Random schedules over requests with an Idempotency-Key: double clicks, lost answers, crashes, outages.

`PLAYHEAD_TEST_SCHEDULES=20000` runs more schedules. A failure names its seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from playhead.backends._sql_catalog.idempotency import keep_key
from playhead.errors import Conflict, ReplayContinues, Unavailable, broker_unavailable, catalog_unavailable
from playhead.model import OPEN_REPLAY_STATES, Replay, ReplayRequest
from playhead.ports.catalog.jobs import Key, Opened
from tests.catalog_memory import MemoryCatalog
from tests.model import faulty, replaying
from tests.model.faulty import at_once, step
from tests.model.replaying import STAGE, Replaying
from tests.model.world import is_found, run_schedules, schedules

DAY = 100.0
"""How long a key is kept at least."""
TRIES = 20
LAST_BEGIN = 150
"""The turn in which the last client sends its first request, at most."""


class Broker(faulty.Broker):
    """Is unavailable now and then, when a request asks for it."""

    async def check(self) -> str:
        if self.world.strikes("no_broker", 0.2):
            raise broker_unavailable("no connection")
        return await super().check()


class Catalog(replaying.Catalog):
    """Requests sometimes get no answer, or find no catalog."""

    world: Keyed

    async def keyed(self, key: Key) -> UUID | None:
        return self.maybe_unanswered(await super().keyed(key))

    async def replay(self, batch: UUID, *, work: bool = True, trouble: str = "") -> Replay | None:
        return self.maybe_unanswered(await super().replay(batch, work=work, trouble=trouble))

    async def open_replay(self, **asked: Any) -> Opened:
        if self.world.strikes("no_catalog", 0.2):
            raise catalog_unavailable("no connection")
        self.world.keys[asked["batch"]] = asked["key"] and asked["key"].key
        return self.maybe_unanswered(await super().open_replay(**asked))


class Client(NamedTuple):
    """Sends one request until it is answered, or once if it has no key. `path` is the body of its request."""

    name: str
    key: str | None
    path: str | None


CLIENTS = (
    *(Client(name, "key", None) for name in ("one", "two", "three")),
    Client("another body", "key", "k0"),
    Client("another key", "other", None),
    Client("no key", None, "k1"),
)


class Keyed(Replaying):
    """Clients that send requests, each to any server.

    Attributes:
        keys: of the requests that have created replays, by batch.
        answers: the last answer to each client: its batch, or an error.
        fresh: how many answers said that they have created a replay.
    """

    crew: Sequence[str] = ("server", "server", "worker", "keeper")

    def __init__(self, seed: int, *, catalog: type[Catalog] = Catalog) -> None:
        self.keys: dict[UUID, str | None] = {}
        self.answers: dict[Client, UUID | Exception] = {}
        self.fresh = Counter[UUID]()
        self.turn = 0
        super().__init__(seed, catalog=catalog, broker=Broker)

    def budget(self) -> Counter[str]:
        choice = self.rng.choice
        return Counter(
            crash=choice([2, 6]),
            lost=choice([0, 3]),
            lapse=choice([0, 2]),
            unanswered=choice([0, 6]),
            no_catalog=choice([0, 2]),
            no_broker=choice([0, 2]),
            pause=choice([0, 1]),
            weekend=choice([0, 0, 1]),
        )

    def prepare(self) -> None:
        self.source = self.put(["k0", "k1"])
        self.clients = self.rng.sample(CLIENTS, self.rng.choice([2, 3, 4, 6]))
        self.begins = {client: self.rng.randint(1, LAST_BEGIN) for client in self.clients}
        self.is_managed = self.rng.random() < 0.5

    # -- clients -----------------------------------------------------------------------------------

    async def client(self, name: str, client: Client) -> None:
        for _ in range(TRIES if client.key else 1):
            answer = list[UUID | Exception]()
            self.start("request", partial(self.request, client=client, answer=answer))
            handler = f"request{self.count}"
            while handler in self.running:
                await step()
            if answer and not self.strikes("lost", 0.3):
                self.answers[client] = answer[0]
                if not isinstance(answer[0], Unavailable):
                    return
            await step()

    async def request(self, name: str, client: Client, answer: list[UUID | Exception]) -> None:
        """Handle a request in a server."""
        service = self.replays(name, key_seconds=DAY)
        reason = "a test" if self.is_managed else None
        request = ReplayRequest(
            self.source, STAGE, client.path, "model/second", reason=reason, key=client.key
        )
        try:
            opened = await service.start(request)
            self.fresh[opened.replay.replay_batch_id] += opened.fresh
            if self.rng.random() < 0.5:
                await service.wait(opened.replay)
            answer.append(opened.replay.replay_batch_id)
        except (Conflict, Unavailable) as exc:
            answer.append(exc)

    # -- the schedule ------------------------------------------------------------------------------

    def tend(self) -> None:
        self.turn += 1
        for client in self.clients:
            if self.begins[client] == self.turn:
                self.start("client", partial(self.client, client=client))
        if self.quiet and self.rng.random() < 0.05:
            for replay in self.all_replays():
                if replay.state in ("paused", "stalled"):
                    at_once(self.catalog.resume(replay.replay_batch_id))

    def fault(self) -> bool:
        if super().fault():
            return True
        if self.strikes("weekend", 0.005):
            self.now += DAY + 1
            return True
        if self.strikes("pause", 0.01):
            for replay in self.all_replays():
                if replay.state in OPEN_REPLAY_STATES:
                    at_once(self.catalog.pause(replay.replay_batch_id))
            return True
        return False

    def crash(self, name: str) -> bool:
        return not name.startswith("client") and super().crash(name)

    def all_replays(self) -> list[Replay]:
        replays, _ = at_once(MemoryCatalog.replays(self.catalog))
        return list(replays)

    def has_settled(self) -> bool:
        if self.turn <= LAST_BEGIN:
            return False
        is_open = any(replay.state in OPEN_REPLAY_STATES for replay in self.all_replays())
        return not is_open and not self.processes("client") and not self.processes("request")

    # -- what must hold ----------------------------------------------------------------------------

    def audit(self) -> list[str]:
        bad = [f"a replay is {r.state}" for r in self.all_replays() if r.state != "publishing_complete"]
        bad += [line for key in {"key", "other"} for line in self.audit_key(key)]
        if any(count > 1 for count in self.fresh.values()):
            bad.append("two requests have created one replay")
        paths = {replay.replay_batch_id: replay.from_path for replay in self.all_replays()}
        for client in self.clients:
            answer = self.answers.get(client)
            recorded = {path for batch, path in paths.items() if self.keys[batch] == client.key}
            if isinstance(answer, UUID):
                if paths[answer] != client.path:
                    bad.append("a client got the replay of another request")
            elif isinstance(answer, Conflict):
                if not recorded - {client.path}:
                    bad.append("a request was refused, but no other body has its key")
            elif client.key:
                bad.append("a client got no answer, although it repeats its request")
            elif recorded and _denies(answer):
                bad.append("an error says that nothing was recorded, but it was")
        return bad

    def audit_key(self, key: str) -> list[str]:
        """A key may have another replay when the first one is a day old and its publishing has ended."""
        replays = self.catalog.con.execute(
            "SELECT e.batch, e.created_at, coalesce(j.ended_at, 1e12) FROM executions e "
            "JOIN jobs j ON j.execution = e.n ORDER BY e.n"
        ).fetchall()
        times = [times for raw, *times in replays if self.keys[UUID(bytes=raw)] == key]
        for (created, ended), (again, _) in pairwise(times):
            if again - created < DAY or again < ended:
                return ["one key has two replays"]
        return []


def _denies(answer: UUID | Exception | None) -> bool:
    """Whether an error says that no replay was recorded."""
    is_error = isinstance(answer, Unavailable) and not isinstance(answer, ReplayContinues)
    return is_error and "not known" not in str(answer)


def test_no_schedule_of_faults_creates_two_replays_for_one_key():
    found, seeds = run_schedules(schedules(5), kind=Keyed)
    assert not found, f"seeds {seeds[:10]}: {dict(found.most_common(5))}"


# -- the test can fail: without a rule, schedules find violations -------------------------------------


class KeyLast(Catalog):
    """A key is stored in a transaction after the one that creates the replay."""

    async def open_replay(self, **asked: Any) -> Opened:
        key = asked.pop("key")
        opened = await super().open_replay(**asked, key=None)
        self.world.keys[asked["batch"]] = key and key.key
        if key:
            await self._db.write(partial(keep_key, key=key, started=asked["batch"]))
        return opened


class KeyFirst(Catalog):
    """A key is stored in a transaction before the one that creates the replay."""

    async def open_replay(self, **asked: Any) -> Opened:
        key = asked.pop("key")
        if key:
            await self._db.write(partial(keep_key, key=key, started=asked["batch"]))
        opened = await super().open_replay(**asked, key=None)
        self.world.keys[asked["batch"]] = key and key.key
        return opened


class AgeAlone(Catalog):
    """A key is dropped after a day, whatever its replay does."""

    async def keyed(self, key: Key) -> UUID | None:
        self.con.execute("DELETE FROM idempotency WHERE created_at < ?", [self.world.now - key.seconds])
        return await super().keyed(key)


class AnyBody(Catalog):
    """The body of a request is not compared."""

    async def keyed(self, key: Key) -> UUID | None:
        return await super().keyed(key._replace(body_sha256=b""))

    async def open_replay(self, **asked: Any) -> Opened:
        if asked["key"]:
            asked["key"] = asked["key"]._replace(body_sha256=b"")
        return await super().open_replay(**asked)


@pytest.mark.parametrize(
    ("catalog", "first", "what"),
    [
        (KeyLast, 1, "one key has two replays"),
        (KeyFirst, 53, "got no answer"),
        (AgeAlone, 21, "one key has two replays"),
        (AnyBody, 1, "got the replay of another request"),
    ],
    ids=["key after the replay", "key before the replay", "age alone", "any body"],
)
def test_without_a_rule_of_keys_schedules_find_violations(catalog: type[Catalog], first: int, what: str):
    assert is_found(what, Keyed, 100, first=first, catalog=catalog)
