"""Weeks in which fixes, reverts, replays, declarations and edits come at random.

A model predicts which documents each run processes, and how many results are stale or declared valid. Outputs
must be those of the oracle after each step.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.documents_by_day import Days, documents, fix

STEPS = int(os.environ.get("PLAYHEAD_TEST_ROUNDS", "12"))


@pytest.fixture
async def days(catalog_setting: dict[str, Any], tmp_path: Path) -> AsyncIterator[Days]:
    async with documents(tmp_path, **catalog_setting) as days:
        yield days


@dataclass(frozen=True)
class Declared:
    """A declaration: the code of its time, its place among the replays, and what readers saw."""

    code: int
    place: int
    seen: dict[str, tuple[str, int]]


class Model:
    """What is declared valid, and which results there are of which code."""

    def __init__(self, days: Days) -> None:
        self.days = days
        self.oracle = days.oracle
        self.declared: list[Declared] = []
        self.received: list[set[tuple[str, str]]] = []
        self.made = {(name, text, 1) for name, text in self.oracle.texts.items()}

    def seen(self) -> dict[str, tuple[str, int]]:
        return {name: (text, self.oracle.cut_by[name]) for name, text in self.oracle.texts.items()}

    def is_valid(self, name: str) -> bool:
        """Whether a result of older code is declared valid."""
        text, in_force = (
            self.oracle.texts[name],
            [one for one in self.declared if one.code == self.oracle.code],
        )
        if not in_force:
            return False
        since = min(one.place for one in in_force)
        if any((name, text) in objects for objects in self.received[since:]):
            return False
        return any(one.seen.get(name) == (text, self.oracle.cut_by[name]) for one in in_force)

    async def run(self) -> None:
        code, changed = self.oracle.code, self.days.edit()
        older = {name for name in self.days.older() - changed if not self.is_valid(name)}
        found = {name for name in older if (name, self.oracle.texts[name], code) in self.made}
        self.oracle.cut_by |= dict.fromkeys(found, code)
        await self.days.run(changed, older=older - found)
        self.made |= {(name, self.oracle.texts[name], code) for name in changed | older}

    async def replay(self, rng: random.Random) -> None:
        texts, code = self.oracle.texts, self.oracle.code
        chosen = set(rng.sample(sorted(texts), rng.randint(1, len(texts) // 2)))
        fails = set(rng.sample(sorted(chosen), rng.choice([0, 0, 1])))
        if rng.random() < 0.6:
            declared = Declared(code, len(self.received), self.seen())
            await self.days.replay(chosen, fails, others_valid=True, reason="checked")
            self.declared.append(declared)
        else:
            await self.days.replay(chosen, fails)
        self.received.append({(name, texts[name]) for name in chosen})
        self.made |= {(name, texts[name], code) for name in chosen - fails}

    async def forget(self) -> None:
        if self.declared:
            await self.days.ph.post("datasets/docs/forget", {"route": "chunk"})
            self.declared.clear()

    async def check(self) -> None:
        older = self.days.older()
        valid = sum(map(self.is_valid, older))
        assert await self.days.numbers() == (len(self.oracle.texts), len(older) - valid, valid)


@pytest.mark.timeout(300)
async def test_each_run_processes_what_the_model_predicts(days: Days):
    rng, model = days.rng, Model(days)
    for _ in range(STEPS):
        match rng.choice(["run", "run", "run", "replay", "replay", "fix", "revert", "forget"]):
            case "run":
                await model.run()
            case "replay":
                await model.replay(rng)
            case "fix":
                days.fix()
            case "revert":
                days.oracle.code = rng.randint(1, days.oracle.code)
                fix(days.ph, days.oracle.code)
            case "forget":
                await model.forget()
        await model.check()
