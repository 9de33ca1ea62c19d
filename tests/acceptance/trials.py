"""Faults of servers and of the network during work, and the results afterwards.

A `Trial` is a fault on a kind of deployment. `attempt` creates the scene, causes the fault, and counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from tests.acceptance import brokers
from tests.acceptance.deployments import KINDS, Kind, Urls
from tests.acceptance.processes import Process
from tests.acceptance.scenes import WITHIN, Answer, Outcome, Scene, open_scene
from tests.servers import Server, fresh, server as shared_server
from tests.servers.commits import Commits
from tests.servers.nats import Nats, NatsThree
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMq
from tests.servers.refusing import Refusing

ROLES: Final = ("store", "broker", "catalog")
WAYS: Final = ("stopped", "killed", "paused")


@dataclass(frozen=True, slots=True)
class Ground:
    """A scene, and the servers on which a trial causes a fault.

    Attributes:
        servers: by name, without those that all tests share, because no trial causes a fault in them.
        seconds: the duration of a fault that is not momentary.
    """

    kind: Kind
    servers: Mapping[str, Server]
    seconds: float

    @property
    def urls(self) -> Urls:
        own = {name: server.url for name, server in self.servers.items()}
        return Urls.of(self.kind, {name: own.get(name) or shared_server(name) for name in self.kind.servers})


Happening = Callable[[Ground], Outcome]


@dataclass(frozen=True, slots=True)
class Trial:
    """A fault on a kind of deployment.

    Attributes:
        role: of the server that has the fault; None if the fault is elsewhere.
    """

    kind: Kind
    role: str | None
    fault: str
    happen: Happening

    def __str__(self) -> str:
        return f"{self.kind}-{self.fault}".replace(" ", "-")


# -- unavailable servers -----------------------------------------------------------------------------


def away(role: str, way: str) -> Happening:
    """The server of a backend is stopped, killed or suspended for a while."""

    def happen(ground: Ground) -> Outcome:
        server = ground.servers[getattr(ground.kind, role)]
        end, begin = {
            "stopped": (server.stop, server.start),
            "killed": (server.kill, server.start),
            "paused": (server.pause, server.resume),
        }[way]
        with open_scene(ground.urls) as scene:
            scene.begin()
            try:
                end()
                scene.go_on()
                since = time.monotonic()
                asked = scene.call("few", "work")
                if way != "paused":
                    asked.result()  # the server must stay unavailable until this answer
                time.sleep(max(ground.seconds - (time.monotonic() - since), 0))
                answer = asked.result() if asked.done() else None
            finally:
                begin()
            answer = answer or asked.result()
            if answer.status == 503 or way != "paused":
                # A suspended server gives no error; a client that waits long enough gets its answer.
                # In a cluster the error may name any member.
                named = () if isinstance(server, NatsThree) else (str(server.port),)
                must_tell(scene, answer, {role, "catalog"} if role == "broker" else {role}, *named)
            return scene.finish()

    return happen


def must_tell(scene: Scene, answer: Answer, roles: set[str], *words: str) -> None:
    """Raise unless an answer reports an unavailable backend with these words."""
    codes = {f"{role}_unavailable" for role in roles}
    missing = [word for word in words if word not in answer.words]
    if answer.status != 503 or answer.code not in codes or missing:
        raise scene.deployment.failed(
            f"an answer with {' or '.join(codes)} and {words}, not: {answer.status} {answer.body} "
            f"after {answer.seconds:.1f} s"
        )


# -- the network path to a server ------------------------------------------------------------------


def cut_before_confirm(ground: Ground) -> Outcome:
    """The connection to the broker is cut repeatedly between a request and its reply."""
    urls = ground.urls
    with Proxy(urls.broker) as network, open_scene(urls, through=replace(urls, broker=network.url)) as scene:
        scene.begin()
        for _ in range(4):
            network.hold()
            scene.go_on()
            time.sleep(0.5)  # requests are executed, but their answers are lost
            network.cut()
            network.release()
            time.sleep(0.7)
        return scene.finish()


COMMITS: Final[Mapping[str, str]] = {
    "claim": "SET state = 1, attempt = attempt + 1",
    "bind": "INSERT INTO outputs",
    "finish": "SET state = 3, ended_at = playhead_now(), worker = NULL",
    "mark children": "SET published = 1, publisher = NULL FROM unnest",
    "record": "INSERT INTO messages (id, execution, lane, object_key, stage, ordinal)",
    "mark": "UPDATE jobs SET watermark = greatest",
    "close": "watermark = ordinals",
}
"""Kinds of transactions, each with words of one of its statements."""
CALLS: Final[Mapping[str, str]] = {
    "publish": "INSERT INTO dispatches",
    "take": "UPDATE dispatches d SET visible_at = playhead_now() + $4",
    "ack": "DELETE FROM dispatches",
}
"""The same, for queues in PostgreSQL."""


def lost_commits(names: Mapping[str, str]) -> Happening:
    """The replies to COMMITs are lost: once for each of these transactions, twice if it recurs."""

    def happen(ground: Ground) -> Outcome:
        urls = ground.urls
        with Commits(urls.catalog) as network:
            broker = network.url if urls.broker == urls.catalog else urls.broker
            reached = replace(urls, catalog=network.url, broker=broker)
            with open_scene(urls, through=reached) as scene:
                scene.begin()
                for words in names.values():
                    network.lose(words, 2)
                scene.go_on()
                # What was in its middle may have been further than it seemed; this one does all of them.
                scene.call("few", "work")
                outcome = scene.finish()
                if never := [name for name, words in names.items() if not network.lost[words]]:
                    raise scene.deployment.failed(f"no COMMIT was lost of: {', '.join(never)}")
                return outcome

    return happen


# -- a broker that loses messages ---------------------------------------------------------------------------


def forgotten(how: str) -> Happening:
    """The queues of the workers are purged or deleted, twice."""

    def happen(ground: Ground) -> Outcome:
        with open_scene(ground.urls) as scene:
            scene.begin()
            do = {"purged": scene.deployment.hand.purge, "deleted": scene.deployment.hand.delete}[how]
            do(scene.deployment.queues())
            scene.go_on()
            time.sleep(1.0)
            do(scene.deployment.queues())
            return scene.finish()

    return happen


# -- a cluster changes its leaders -------------------------------------------------------------------

_WORKED: Final = ("steady.work", "steady.hand_over")
"""The queues by which the leaders of a cluster are found."""


def _leader(scene: Scene, ground: Ground, queue: str = "steady.work") -> Nats:
    """Wait for a leader of the stream of a queue, and return its server."""
    hand, cluster = scene.deployment.hand, ground.servers["nats-three"]
    assert isinstance(hand, brokers.Nats)
    assert isinstance(cluster, NatsThree)
    found = ""

    def led() -> bool:
        nonlocal found
        found = hand.leader(queue)
        return bool(found)

    scene.deployment.until(led, f"a leader of {queue}")
    return cluster.named(found)


def leader_lost(way: str) -> Happening:
    """The leader of a stream is killed or suspended for a while.

    First the leader of the consumed stream, then that of the stream of published messages.
    """

    def happen(ground: Ground) -> Outcome:
        with open_scene(ground.urls) as scene:
            scene.begin()
            for queue in _WORKED:
                leader = _leader(scene, ground, queue)
                end, begin = {
                    "killed": (leader.kill, leader.start),
                    "paused": (leader.pause, leader.resume),
                }[way]
                end()
                scene.go_on()
                # Two of three are enough; during the election of a leader, a client may get 503.
                answer = scene.call("few", "work")
                time.sleep(ground.seconds)
                begin()
                answer.result()
            return scene.finish()

    return happen


def majority_lost(ground: Ground) -> Outcome:
    """Two of three servers are killed: the third confirms nothing, and its clients get errors."""
    cluster = ground.servers["nats-three"]
    assert isinstance(cluster, NatsThree)
    with open_scene(ground.urls) as scene:
        scene.begin()
        try:
            for member in cluster.members[1:]:
                member.kill()
            scene.go_on()
            since = time.monotonic()
            # The leader notices only after a while that it has no followers; until then it may accept
            # messages.
            while True:
                answer = scene.ask("few", "work")
                if answer.code == "broker_unavailable" and "leader" in answer.words:
                    break
                if time.monotonic() - since > WITHIN:
                    raise scene.deployment.failed(
                        f"an answer that names the leader: {answer.status} {answer.body}"
                    )
            time.sleep(max(ground.seconds - (time.monotonic() - since), 0))
        finally:
            cluster.start()
        return scene.finish()


def rolled(ground: Ground) -> Outcome:
    """Each server in turn is stopped and started again, as in a rolling upgrade."""
    cluster = ground.servers["nats-three"]
    assert isinstance(cluster, NatsThree)
    with open_scene(ground.urls) as scene:
        scene.begin()
        scene.go_on()
        for member in cluster.members:
            member.stop()
            answer = scene.call("few", "work")
            time.sleep(ground.seconds / 3)
            member.start()
            cluster.wait_for_leader()
            answer.result()
        return scene.finish()


def stepped_down(ground: Ground) -> Outcome:
    """Leaders step down repeatedly."""
    with open_scene(ground.urls) as scene:
        hand = scene.deployment.hand
        assert isinstance(hand, brokers.Nats)
        scene.begin()
        scene.go_on()
        times = 0
        for _ in range(8):
            times += sum(hand.step_down(queue) for queue in _WORKED)
            time.sleep(0.4)
        if not times:
            raise scene.deployment.failed("no leader stepped down")
        return scene.finish()


# -- servers that refuse -----------------------------------------------------------------------------


def refused(status: int, code: str, *words: str) -> Happening:
    """The store rejects all requests for a while."""

    def happen(ground: Ground) -> Outcome:
        urls = ground.urls
        with Refusing(urls.store) as store, open_scene(urls, through=replace(urls, store=store.url)) as scene:
            scene.begin()
            store.refuse(status, code)
            scene.go_on()
            since = time.monotonic()
            answer = scene.ask("few", "work")
            must_log(scene, code, *words)
            time.sleep(max(ground.seconds - (time.monotonic() - since), 0))
            many, seconds = store.refused, time.monotonic() - since
            store.accept()
            must_tell(scene, answer, {"store"}, code, "s3://playhead/", str(store.port), *words)
            # Three processes send each request at most five times in twenty seconds. Without delays they
            # would send thousands per second.
            if many > 500 + 100 * seconds:
                raise scene.deployment.failed(f"{many} requests were sent to a store that refuses")
            return scene.finish()

    return happen


def must_log(scene: Scene, *words: str) -> None:
    """Wait until each worker has logged a line that holds all of these words; raise if one does not.

    Call it while the fault lasts.
    """
    for worker in scene.workers:

        def tells(worker: Process = worker) -> bool:
            return any(all(word in line for word in words) for line in worker.said.splitlines())

        scene.deployment.until(tells, f"a log line of {worker.name} with {words}")


def full(ground: Ground) -> Outcome:
    """A stream is full: publishers get an error, and continue when workers have made room."""
    with open_scene(ground.urls) as scene:
        hand = scene.deployment.hand
        assert isinstance(hand, brokers.Nats)
        scene.begin()
        for worker in scene.workers:
            worker.pause()  # no process makes room
        hand.limit("steady.work", 20)
        hand.limit("steady.hand_over", 500)
        scene.go_on()
        answer = scene.ask("few", "work")
        found, failed = answer.body["objects_found"], answer.body["objects_failed"]
        said = " ".join(answer.body["errors"] or [])
        if answer.status != 200 or not 0 < failed <= found or "maximum messages exceeded" not in said:
            raise scene.deployment.failed(f"an answer that says what is full: {answer.status} {answer.body}")
        for worker in scene.workers:
            worker.resume()
        hand.limit("steady.hand_over", -1)  # no worker makes room there
        return scene.finish()


def alarm(ground: Ground) -> Outcome:
    """RabbitMQ has a memory alarm for a while and accepts no messages."""
    rabbit = ground.servers["rabbitmq"]
    assert isinstance(rabbit, RabbitMq)
    with open_scene(ground.urls) as scene:
        scene.begin()
        try:
            rabbit.control("set_vm_memory_high_watermark", "absolute", "1MiB")
            scene.deployment.until(  # it looks at its memory every few seconds
                lambda: "memory" in rabbit.control("eval", "rabbit_alarm:get_alarms()."), "the alarm"
            )
            scene.go_on()
            answer = scene.ask("few", "work")
            time.sleep(max(ground.seconds - answer.seconds, 0))
            if answer.code == "replay_continues":
                # A connection gets the alarm with its first published message. If the caller stops waiting
                # before the confirmation, only the log reports the alarm, a little later.
                scene.deployment.until(
                    lambda: "alarm" in scene.server.said, "a server whose log names the alarm"
                )
        finally:
            rabbit.control("set_vm_memory_high_watermark", "0.6")
        if answer.status == 200:
            if not any("alarm" in line for line in answer.body["errors"] or ()):
                raise scene.deployment.failed(f"an answer that names the alarm: {answer.body}")
        elif answer.code != "replay_continues":
            must_tell(scene, answer, {"broker"}, "alarm", str(rabbit.port))
        return scene.finish()


def crowded(ground: Ground) -> Outcome:
    """Other clients use all connections of PostgreSQL for a while, and those of Playhead are terminated."""
    most = 60
    with fresh("postgres", f"--max_connections={most}") as postgres:
        servers = {**ground.servers, "postgres": postgres}
        with open_scene(replace(ground, servers=servers).urls) as scene:
            scene.begin()
            with brokers.crowd(postgres.url, most):
                scene.go_on()
                since = time.monotonic()
                answer = scene.ask("few", "work")
                must_log(scene, "no connection left", str(postgres.port))
                time.sleep(max(ground.seconds - (time.monotonic() - since), 0))
            must_tell(scene, answer, {"catalog"}, "no connection left", "max_connections", str(postgres.port))
            return scene.finish()


# -- processes die, are suspended, or have another clock ---------------------------------------------------

_HOUR: Final = {"CLOCK_SHIFT_SECONDS": "3600"}
_HOUR_BEHIND: Final = {"CLOCK_SHIFT_SECONDS": "-3600"}


def server_killed(ground: Ground) -> Outcome:
    """The server dies during a replay, and processes whose clocks are an hour behind take it over."""
    with open_scene(ground.urls) as scene:
        heir = scene.deployment.serve(settings=_HOUR_BEHIND)
        scene.begin()
        scene.lose_server(heir)
        outcome = scene.finish()
        if not scene.taken_over:
            raise scene.deployment.failed("no process took over the replay of the killed server")
        return outcome


def server_asleep(ground: Ground) -> Outcome:
    """The server is suspended during a replay until another process takes it over, and then resumes."""
    with open_scene(ground.urls) as scene:
        scene.deployment.serve()
        scene.begin()
        scene.deployment.until(lambda: scene.taken_over, "another server to take over")
        scene.go_on()
        return scene.finish()


def workers_killed(ground: Ground) -> Outcome:
    """All workers die one after another, and a worker of another machine starts."""
    with open_scene(ground.urls) as scene:
        scene.begin()
        scene.go_on()
        scene.lose_worker(0)
        scene.lose_worker(1)
        outcome = scene.finish()
        if not outcome.findings.again:
            raise scene.deployment.failed("no worker was killed at work")
        return outcome


def clocks_apart(ground: Ground) -> Outcome:
    """The clocks of some processes are an hour ahead, and those of the other processes an hour behind.

    No process takes over live work.
    """
    with open_scene(ground.urls) as scene:
        for shift in (_HOUR, _HOUR_BEHIND):
            scene.deployment.serve(settings=shift)
            scene.workers.append(scene.deployment.worker(settings=shift))
        scene.begin()
        time.sleep(2.0)  # silent, yet within its lease
        scene.go_on()
        outcome = scene.finish()
        if scene.taken_over or outcome.findings.again:
            raise scene.deployment.failed(
                f"what others had was taken: {scene.taken_over} jobs, {outcome.findings.again} attempts"
            )
        return outcome


# -- all of them -------------------------------------------------------------------------------------


def _of_three() -> Iterator[tuple[str | None, str, Happening]]:
    for way in WAYS:
        yield "broker", f"broker {way}", away("broker", way)
    for way in ("killed", "paused"):
        yield "broker", f"leader {way}", leader_lost(way)
    yield "broker", "majority lost", majority_lost
    yield "broker", "rolled", rolled
    yield "broker", "leaders step down", stepped_down
    yield "broker", "queues purged", forgotten("purged")
    yield "broker", "queues deleted", forgotten("deleted")


def _of(kind: Kind) -> Iterator[tuple[str | None, str, Happening]]:
    if kind.broker == "nats-three":
        yield from _of_three()
        return
    roles = ROLES if kind.broker != kind.catalog else ("store", "catalog")
    for role in roles:
        name = role if kind.broker != kind.catalog or role == "store" else "broker and catalog"
        for way in WAYS:
            yield role, f"{name} {way}", away(role, way)
    yield None, "connection cut before the confirmation", cut_before_confirm
    yield None, "COMMIT replies lost", lost_commits(COMMITS)
    if kind.broker == "postgres":
        yield None, "COMMIT replies lost, queues", lost_commits(CALLS)
    yield None, "queues purged", forgotten("purged")
    if kind.broker != "postgres":
        yield None, "queues deleted", forgotten("deleted")
    yield None, "store returns SlowDown", refused(503, "SlowDown", "it wants fewer requests")
    yield None, "store returns AccessDenied", refused(403, "AccessDenied", "s3:", "arn:aws:s3:::playhead")
    if kind.broker == "nats":
        yield None, "stream full", full
    if kind.broker == "rabbitmq":
        yield "broker", "memory alarm", alarm
    yield None, "no connections left", crowded
    yield None, "server killed", server_killed
    yield None, "server suspended", server_asleep
    yield None, "workers killed", workers_killed
    yield None, "clocks an hour apart", clocks_apart


TRIALS: Final = tuple(Trial(kind, *of) for kind in KINDS.values() for of in _of(kind))


@contextmanager
def trying(
    trials: Sequence[Trial], *, seconds: float, kinds_at_once: int
) -> Iterator[Mapping[Trial, Future[Outcome]]]:
    """Run all trials. Those of one kind run one after another, because they share its servers.

    A future raises `DeploymentFailed` if a process does not end or reports the wrong outcome, and `Missing`
    or `DidNotStart` if a server is not available. Trials that have not begun when the block ends do not run.

    Args:
        seconds: how long lasts what lasts.
        kinds_at_once: each is a dozen processes that are busy; where there are too many of them, they come
            too late for their leases.
    """
    found: dict[Trial, Future[Outcome]] = {trial: Future() for trial in trials}
    kinds = list(dict.fromkeys(trial.kind for trial in trials))
    with ThreadPoolExecutor(kinds_at_once) as pool:
        for kind in kinds:
            pool.submit(_try, kind, {t: f for t, f in found.items() if t.kind == kind}, seconds)
        try:
            yield found
        finally:
            for future in found.values():
                future.cancel()


def _try(kind: Kind, futures: Mapping[Trial, Future[Outcome]], seconds: float) -> None:
    own: dict[str, Server] = {}
    with ExitStack() as stack:
        for trial, future in futures.items():
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if trial.role and (name := getattr(kind, trial.role)) not in own:
                    own[name] = stack.enter_context(fresh(name))
                future.set_result(attempt(trial, Ground(kind, own, seconds)))
            except Exception as exc:
                future.set_exception(exc)


def attempt(trial: Trial, ground: Ground) -> Outcome:
    """Cause the fault and count the results.

    Raises `DeploymentFailed` if an execution does not end or reports the wrong outcome.
    """
    try:
        return trial.happen(ground)
    finally:
        for server in ground.servers.values():
            server.resume()
            server.start()
