"""Many readers of each sink and of the catalog, while publications and rollbacks move what they see."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tests import servers
from tests.acceptance.publishing import INPUTS, READERS, Publishing, open_publishing

_INPUTS: Final = dict(list(INPUTS.items())[:10])
_REPLAYS: Final = 20
_SECONDS: Final = 1200.0
_LATE_SECONDS: Final = 0.01
"""The catalog records milliseconds."""


@dataclass
class _Reader:
    """What one reader saw.

    Attributes:
        changes: each execution that differs from the one before, and when the read that found it had ended.
    """

    of: str
    reads: int = 0
    changes: list[tuple[str, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def read_until(self, at: Publishing, over: threading.Event) -> None:
        try:
            with at.reader(self.of) as read:
                while not over.is_set():
                    seen = read()
                    self.reads += 1
                    if list(seen.values()) != [len(_INPUTS)]:
                        self.wrong.append(f"{self.of}: a mixture: {dict(seen)}")
                        continue
                    [execution] = seen
                    if not self.changes or self.changes[-1][0] != execution:
                        self.changes.append((execution, time.time()))
        except Exception as exc:
            self.wrong.append(f"{self.of}: {type(exc).__name__}: {exc}")

    def judge(self, switches: Sequence[tuple[str, float]]) -> None:
        """Compare what was seen with the decisions, each an execution and its time, in order."""
        place = 0
        for execution, seen_at in self.changes:
            later = [n for n in range(place, len(switches)) if switches[n][0] == execution]
            if not later:
                self.wrong.append(f"{self.of}: {execution} after decision {place}, which is no later one")
                return
            place = later[0]
            if switches[place][1] > seen_at + _LATE_SECONDS:
                self.wrong.append(f"{self.of}: decision {place} was seen before it was made")


def readers(*, publications: int, rollbacks: int, reads: int, each: int) -> list[str]:
    """Print one line for each sink, and return what no reader must see."""
    with open_publishing(servers.server("postgres"), HEARTBEAT_SECONDS="1", LEASE_SECONDS="5") as (
        made,
        vectors,
    ):
        at = Publishing(made, vectors, inputs=_INPUTS)
        replays = [at.replay() for _ in range(_REPLAYS)]
        at.publish(at.run)
        at.settled()
        found = [_Reader(of) for of in READERS for _ in range(each)]
        over = threading.Event()
        threads = [threading.Thread(target=one.read_until, args=(at, over)) for one in found]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        happened = _move(at, replays, publications, rollbacks)
        while sum(one.reads for one in found) < reads and time.monotonic() - began < _SECONDS:
            time.sleep(0.1)
        at.settled()
        over.set()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        switches = _switches(at)
        for one in found:
            one.judge(switches)
        wrong = [*(w for one in found for w in one.wrong), *at.leftovers()]
    for of in READERS:
        some = [one for one in found if one.of == of]
        changes = sum(len(one.changes) for one in some)
        count, bad = sum(one.reads for one in some), sum(len(one.wrong) for one in some)
        print(f"{of:<8} {len(some):>3} readers {count:>9,} reads {changes:>6,} changes seen {bad:>3} wrong")
    print(
        f"{sum(one.reads for one in found):,} reads during {happened['publication']} publications and "
        f"{happened['rollback']} rollbacks in {seconds:.0f} s: {len(wrong)} mixtures or undecided"
    )
    return wrong


def _move(at: Publishing, replays: Sequence[str], publications: int, rollbacks: int) -> Counter[str]:
    """Publish and roll back in random order. Half of the time, the sinks do not get time to follow."""
    chosen, happened = random.Random(1), Counter[str]()
    kinds = ["publication"] * publications + ["rollback"] * rollbacks
    chosen.shuffle(kinds)
    for kind in kinds:
        if kind == "rollback":
            kept = [one["n"] for one in at.deployment.items("/datasets/docs/publications")]
            at.roll_back(chosen.choice(kept))
        else:
            n = at.begin(chosen.choice(replays))["n"]
            place = f"/datasets/docs/publications/{n}"
            at.deployment.until(
                lambda place=place: at.deployment.get(place)["state"] == "published" or None,  # type: ignore[misc]
                f"publication {n}",
            )
        happened[kind] += 1
        if chosen.random() < 0.5:
            at.settled()
    return happened


def _switches(at: Publishing) -> list[tuple[str, float]]:
    """Return what each decision made current: the newest part, and when."""
    listed = at.deployment.items("/datasets/docs/publications", all="true")
    shows = {one["n"]: one["parts"][-1]["execution_id"] for one in listed}
    found = at.deployment.get("/datasets/docs/switches", limit=1000)["items"]
    return [(shows[one["n"]], datetime.fromisoformat(one["switched_at"]).timestamp()) for one in found[::-1]]
