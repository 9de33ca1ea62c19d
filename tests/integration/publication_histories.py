"""Random histories of a dataset, each publication of which is compared with its definition."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from playhead import Context, Item, Output
from tests.inprocess import Playhead, opened
from tests.integration.publication_definition import Definition, Graph, Refused, Wanted
from tests.waiting import until

# Two branches reach the route `sink`, which stores nothing; `b` makes one to three objects.
_DOCS: Final = """
entry: a
error_handling: {max_attempts: 1}
datasets: {docs: {routes: [a, b, ROUTES sink], max_removed: 1, keep: KEEP}}
routes:
  a:
    adapters: [{type: do}]
    outbound: {stage: A, to: [b, TO]}
  b:
    adapters: [{type: do}]
    outbound: {stage: B, to: [sink]}
  sink:
    adapters: [{type: do}]SINK
"""
_C: Final = """
  c:
    adapters: [{type: do}]
    outbound: {stage: C, to: [sink]}
"""
_WITH_C: Final = Graph(
    {"input": ["a"], "A": ["b", "c"], "B": ["sink"], "C": ["sink"]}, {"a": "A", "b": "B", "c": "C"}
)
_WITHOUT_C: Final = Graph({"input": ["a"], "A": ["b"], "B": ["sink"]}, {"a": "A", "b": "B"})
_KINDS: Final = {
    "run": 3,
    "day": 3,
    "replay": 4,
    "input": 3,
    "code": 3,
    "fix": 3,
    "resend": 1,
    "publish": 7,
    "rollback": 1,
    "cancel": 1,
    "config": 0.3,
    "drop": 0.5,
    "prune": 0.3,
}
STEPS: Final = 18
_LEASE_SECONDS: Final = 3600
"""So long that the process itself drops no publication while a history compares them."""


async def played(home: Path, seed: int, **settings: Any) -> History:
    """Open a runtime on a new home, and play a history."""
    async with opened(home, lease_seconds=_LEASE_SECONDS, **settings) as ph:
        history = History(ph, seed)
        await history.play()
    return history


@dataclass
class History:
    """One history.

    Attributes:
        happened: how often each thing did.
        differences: between what the API lists and the definition.
    """

    ph: Playhead
    seed: int
    happened: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.inputs = {"p": "p0", "q": "q0"}
        self.fails = self.random.choice([0.0, 0.1, 0.3])
        self.keep = self.random.choice([1, 2, 1000])
        # Half of the histories have fixes, and take over whole units: `sink` has a stage. No result is
        # found by its content: lineage does not show whether a result is that of the same place.
        self.takes_whole = self.random.random() < 0.5
        self.code = dict.fromkeys("abc", 0)
        self.executions: list[tuple[str, str]] = []
        self.graphs: dict[int, Graph] = {}
        self.routes: list[str] = []
        self.definition = Definition(self.ph, self.graphs)
        self.stop_after: int | None = None
        self.ph.steps.doing = self.step

    async def play(self) -> None:
        """Let things happen, and compare all publications after each."""
        await self._config()
        await self._run()
        for _ in range(STEPS):
            [kind] = self.random.choices(list(_KINDS), list(_KINDS.values()))
            await getattr(self, f"_{kind}")()
        await self._check()

    # -- steps -------------------------------------------------------------------------------------

    def step(self, item: Item, ctx: Context) -> Any:
        if self.stop_after is not None:
            self.stop_after -= 1
        if self.takes_whole:
            _ = ctx.correlation_id  # so the result is that of this message only
        if self.random.random() < self.fails:
            raise ValueError("failed")
        route, text = ctx.route, item.data.decode()
        if route == "sink" or (route == "c" and item.path == "r"):
            return None
        made = f"{route}{self.code[route]}({text})"
        if route != "b":
            return made
        count = 1 + sha256(made.encode()).digest()[0] % 3
        if self.code["b"] == 3:  # a path that several documents have
            return [Output(made.encode(), path="shared")]
        attributes = {"note": "ä" * count} if self.code["b"] == 2 else {}
        return [
            Output(f"{made}.{n}".encode(), path=f"{item.path}/{n}", attributes=attributes)
            for n in range(count)
        ]

    # -- what happens ------------------------------------------------------------------------------

    async def _config(self) -> None:
        has_c = not self.graphs or self.random.random() < 0.5
        text = _DOCS.replace("KEEP", str(self.keep)).replace("ROUTES", "c," if has_c else "")
        text = text.replace("TO", "c" if has_c else "")
        text = text.replace("SINK", "\n    outbound: {stage: S}" if self.takes_whole else "")
        version = (await self.ph.apply(text + (_C if has_c else "")))["version"]
        self.graphs[version] = _WITH_C if has_c else _WITHOUT_C
        self.routes = ["a", "b", "c", "sink"] if has_c else ["a", "b", "sink"]

    async def _input(self) -> None:
        path = self.random.choice("pqr")
        free = [one for one in "pqr" if one not in self.inputs]
        if path in self.inputs and free and self.random.random() < 0.5:
            self.inputs[self.random.choice(free)] = self.inputs.pop(path)
            return
        if path in self.inputs and len(self.inputs) > 1 and self.random.random() < 0.3:
            del self.inputs[path]
        else:
            self.inputs[path] = f"{path}{self.random.randrange(3)}"

    async def _code(self) -> None:
        self.code[self.random.choice("abc")] = self.random.choice([0, 1, 2, 3])

    async def _fix(self) -> None:
        """Replay objects that readers see with new code, and process what has changed on the next day."""
        current = (await self.ph.get("datasets/docs"))["current"]
        run = self.definition.publications[current].base_run if current else None
        if not self.takes_whole or run not in self._of("run"):  # there may be none, or it was pruned
            return
        await self._code()
        known: Any = self.ph.rt.adapters
        known["do"] = replace(known["do"], code=f"sha256:{self.random.randrange(1 << 30)}")
        for _ in range(self.random.choice([1, 1, 2])):
            before = len(self.executions)
            await self._replay(of_current=True)
            if len(self.executions) > before and self.random.random() < 0.8:
                await self._publish(layers=self._of("replay")[-1:])
        if self.random.random() < 0.2:
            await self._rollback()
        await self._input()
        await self._run(since=[run])
        await self._publish(self._of("run")[-1:])

    async def _cancel(self) -> None:
        self.stop_after = self.random.randrange(4)
        if self.random.random() < 0.5:
            await self._run()
        else:
            await self._replay()
        self.stop_after = None

    async def _day(self) -> None:
        """Process what has changed since the newest run, and publish it, as is done each day."""
        await self._run(since=self._of("run")[-1:])
        if self.random.random() < 0.8:
            await self._publish(self._of("run")[-1:])

    async def _run(self, since: Sequence[str] = ()) -> None:
        form = {}
        if since or ((since := self._of("run")) and self.random.random() < 0.6):
            form = {"changed_since": self.random.choice(since)}
        sent = [("files", (path, text.encode())) for path, text in sorted(self.inputs.items())]
        answer = await self.ph.http.post("/api/v1/configs/docs/run", files=sent, data=form)
        assert answer.status_code == 202, answer.text
        await self._worked("run", answer.json()["execution_id"])

    async def _replay(self, *, of_current: bool = False) -> None:
        source = self.random.choice(self.executions[-4:])[1] if self.executions else None
        if of_current or (self.definition.publications and self.random.random() < 0.4):
            source = str((await self.ph.get("executions/current:docs"))["execution_id"])
        stage = self.random.choice(list(_WITH_C.to))
        if of_current and self.random.random() < 0.6:
            stage = "input"
        route = self.random.choice(_WITH_C.to[stage])
        if source is None or route not in [*self.routes]:
            return
        listed = await self.ph.http.get(
            "/api/v1/storage/objects", params={"execution_id": source, "stage": stage}
        )
        found = listed.json()["items"] if listed.status_code == 200 else []
        if not found:
            return
        body: dict[str, Any] = {"from_execution_id": source, "from_stage": stage, "to_route": route}
        if self.random.random() < 0.4:
            body["paths"] = sorted({self.random.choice(found)["path"] for _ in range(2)})
            if of_current and route != "sink":
                body |= {"others_valid": True, "reason": "the others are right"}
        answer = await self.ph.http.post("/api/v1/replay", json=body)
        if answer.status_code == 200:
            await self._worked("replay", answer.json()["execution_id"])

    async def _worked(self, kind: str, execution: str) -> None:
        """Process an execution, or cancel it after some steps."""
        async with self.ph.working():
            if self.stop_after is not None:

                async def is_time() -> bool:
                    shown = await self.ph.execution(execution)
                    # A run whose inputs are not all recorded can be no base. Its job then ends the listing.
                    is_recorded = shown["counts"]["total"] >= len(self.inputs)
                    is_driven = UUID(execution) in self.ph.rt.services.replay.drives.driving
                    is_listed = kind == "replay" or (is_recorded and not is_driven)
                    is_later = (self.stop_after or 0) <= 0 and is_listed
                    return is_later or shown["status"] != "running"

                await until(is_time)
                answer = await self.ph.http.post(f"/api/v1/executions/{execution}/cancel")
                self.happened[f"cancelled {kind}"] += answer.status_code == 200
                # What is not settled is refused: a step that has begun ends after the response.
                await until(lambda: self._is_settled(execution))
            await self.ph.ended(execution)
        self.executions.append((kind, execution))
        self.happened[kind] += 1

    async def _is_settled(self, execution: str) -> bool:
        body = {"executions": [execution], "dry_run": True}
        answer = await self.ph.http.post("/api/v1/datasets/docs/publications", json=body)
        return bool(answer.json().get("error_code") != "execution_running")

    async def _resend(self) -> None:
        if dead := await self.ph.items("dead-letters"):
            letter = self.random.choice(dead)
            answer = await self.ph.http.post(
                f"/api/v1/dead-letters/{letter['correlation_id']}/resend", json={}
            )
            if answer.status_code == 202:  # not of a cancelled or pruned execution
                await self.ph.work(letter["execution_id"])
                self.happened["resend"] += 1

    async def _rollback(self) -> None:
        kept = [one["n"] for one in await self.ph.items("datasets/docs/publications")]
        if kept:
            await self.ph.post("datasets/docs/rollback", {"to": self.random.choice(kept)})
            self.happened["rollback"] += 1

    async def _drop(self) -> None:
        before = await self.ph.items("datasets/docs/publications")
        await self.ph.rt.services.publish.drafts.drop_due()
        kept = {one["n"] for one in await self.ph.items("datasets/docs/publications")}
        self.happened["drop"] += len(before) - len(kept)

    async def _prune(self) -> None:
        """Delete the objects of an execution, except those that are published."""
        if len(self.executions) > 2:
            _, pruned = self.executions.pop(self.random.randrange(len(self.executions) - 2))
            for one in await self.ph.items("storage/objects", execution_id=pruned):
                await self.definition.read(one["key"])  # replays of it have been published or will be
            await self.ph.post("prune", {"execution_ids": [pruned]})
            await self.ph.rt.services.prune.finish()
            self.happened["prune"] += 1

    def _of(self, kind: str) -> list[str]:
        return [one for what, one in self.executions if what == kind]

    # -- publications ------------------------------------------------------------------------------

    async def _publish(self, run: Sequence[str] = (), layers: Sequence[str] = ()) -> None:
        dataset = await self.ph.get("datasets/docs")
        runs, replays = self._of("run")[-2:], self._of("replay")[-5:]
        base = self.random.choice(runs) if runs and self.random.random() < 0.4 else None
        if not dataset["current"]:
            base = runs[-1] if runs else None
        some = self.random.sample(replays, min(len(replays), self.random.choice([0, 1, 1, 2])))
        added = [one for one in runs if one != base and self.random.random() < 0.15]
        if run or layers:
            base, some, added = next(iter(run), None), list(layers), []
        if base is None and (not (some or added) or not dataset["current"]):
            return
        wanted = Wanted(
            base,
            sorted([*some, *added]),
            on_failure=self.random.choice(["keep_last", "keep_last", "leave_out", "refuse"]),
            skip_superseded=self.random.random() < 0.5,
            allow=["empty", *(one for one in ("older", "incomplete") if self.random.random() < 0.6)],
        )
        body = {
            "executions": some,
            "base": base,
            "add": added,
            "on_failure": wanted.on_failure,
            "skip_superseded": wanted.skip_superseded,
            "allow": wanted.allow,
        }
        try:
            computed = await self.definition.compute(dataset["current"], wanted, self.routes)
            refusal = None
        except Refused as exc:
            refusal = str(exc)
        preview = await self._begin({**body, "dry_run": True})
        made = await self._begin(body)
        code = _code_of(made)
        if _code_of(preview) != code or code != refusal:
            self.differences.append(
                f"{body}: {code}, its preview {_code_of(preview)}; it should be {refusal}"
            )
        if code:
            self.happened["refusal"] += 1
            return
        self.happened["publication"] += 1
        if (preview["counts"], preview["units"]) != (made["counts"], made["units"]):
            self.differences.append(f"preview of {made['n']}: {preview['counts']}, {made['counts']}")
        self.definition.publications[made["n"]] = computed
        await self._check()

    async def _begin(self, body: Any) -> Any:
        """Publish; return the publication when it has ended, the preview, or the refusal."""
        answer = await self.ph.http.post("/api/v1/datasets/docs/publications", json=body)
        assert answer.status_code in (200, 202, 409), answer.text
        made = answer.json()
        while made.get("state") not in (None, "published", "abandoned"):
            await asyncio.sleep(0.005)
            made = await self.ph.get(f"datasets/docs/publications/{made['n']}")
        return made

    async def _check(self) -> None:
        """Compare each kept publication with its definition, and with another one."""
        kept = [one["n"] for one in await self.ph.items("datasets/docs/publications")]
        for n in kept:
            since = self.random.choice([0, *kept])
            self.differences += await self.definition.differences("docs", n, since)
            self.happened["comparison"] += 1
        for n in self.definition.publications.keys() - set(kept):
            await self.ph.get("datasets/docs/objects", 410, at=n)


def _code_of(made: Any) -> str | None:
    """Return the code of a refusal; None: published, or a preview."""
    found = made.get("error_code") or (made.get("refusal") or {}).get("code")
    return str(found) if found else None
