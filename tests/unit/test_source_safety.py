"""If the fingerprint of an adapter stays the same after an edit, so does what the adapter returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from playhead.sourcecode import roots
from playhead.sourcecode.roots import SourceCode
from tests.unit.random_modules import Modules, results
from tests.unit.random_statements import ADAPTERS, HEAD, Writer

PROGRAMS = 120
PAIRS = 400


def code_of(folder: Path, modules: Modules) -> SourceCode:
    for name, text in (("steps", modules.steps), ("helper", modules.helper)):
        (folder / f"{name}.py").write_text(text)
    root = roots.root_of(str(folder / "steps.py"))
    assert root is not None
    return roots.read(root)


def test_random_edits_that_change_what_an_adapter_returns_change_its_fingerprint(tmp_path: Path):
    same = changed = 0
    for seed in range(PROGRAMS):
        random = Random(seed)
        before = Modules.written(random)
        after = before.edited(random)
        calls = [(random.choice(ADAPTERS), random.choice("pqxy")) for _ in range(9)]
        old, new = results(before, calls), results(after, calls)
        if old is None or new is None:
            continue  # one of them cannot be imported
        codes, then = code_of(tmp_path, before), code_of(tmp_path, after)
        for kind in ADAPTERS:
            if codes.of(kind).code != then.of(kind).code:
                changed += 1
                continue
            same += 1
            returned = [[text for name, text in some if name == kind] for some in (old, new)]
            assert returned[0] == returned[1], f"{kind} in program {seed}:\n{before.difference(after)}"
    assert min(same, changed) > PROGRAMS // 4, "the edits are neither all harmless nor all harmful"


class OneOfEach(Writer):
    """A writer with one state, function, class and number, whose uses can be listed."""

    def __init__(self, state: str, function: str, kind: str, number: str) -> None:
        super().__init__(Random(0))
        self._names = state, function, kind, number

    def state(self) -> str:
        return self._names[0]

    def function(self) -> str:
        return self._names[1]

    def type(self) -> str:
        return self._names[2]

    def number(self) -> str:
        return self._names[3]

    def _of(self, *texts: str) -> str:
        return texts[0]


SHARED: Final = """
S0 = ['p', 'q']
N0 = 'n'
N1 = 'n'
S1 = []
def f0(x):
    tick()
    return x + 'f'
f1 = f0
class C0:
    n = 'n'
    k = ()
    seen = 's'
    def m(self, x):
        return x + self.n
C1 = C0
"""
OWN: Final = ("S0", "f0", "C0", "N0")
IMPORTED: Final = ("R0", "g0", "D0", "M0")
OF_HELPER: Final = ("helper.S0", "helper.f0", "helper.C0", "helper.N0")
NAMED: Final = ((OWN, OWN), (IMPORTED, OF_HELPER), (OF_HELPER, IMPORTED), (OF_HELPER, OF_HELPER))


def used_and_changed(use: str, change: list[str], indirect: str, other: str = "") -> Modules:
    """Return modules in which `a0` uses something that `a1` may change, perhaps by another name."""
    writer = OneOfEach(*OWN)
    body = "".join(f"    {line}\n" for line in dict.fromkeys(["x = item", *change, "return x"]))
    steps = [
        *HEAD,
        *writer.helpers(),
        SHARED,
        other,
        f"def change_it(item):\n{body}",
        f'@adapter("a0")\ndef a0(item):\n    x = item\n    return {use}',
        f'@adapter("a1")\ndef a1(item):\n    return {indirect}',
    ]
    return Modules(steps, [SHARED], writer, writer)


def ways() -> Iterator[tuple[str, list[str]]]:
    """Yield each way to use something with each way to change it."""
    for using, changing in NAMED:
        changes = OneOfEach(*changing).actions("x")
        yield from (
            (use, change) for use in dict.fromkeys(OneOfEach(*using).values("x")) for change in changes
        )


def is_followed(folder: Path, use: str, change: list[str], other: str = "") -> bool | None:
    """Whether the code of `a0` covers what `a1` does. None: that does not change what `a0` returns."""
    before, after = (used_and_changed(use, change, one, other) for one in ("change_it(item)", "item"))
    returned = []
    for one in (before, after):
        found = results(one, [(kind, "p") for kind in ("a0", "a1", "a0", "a1", "a0")])
        assert found is not None, (use, change, other)
        returned.append([text for kind, text in found if kind == "a0"])
    if returned[0] == returned[1]:
        return None
    return code_of(folder, before).of("a0").code != code_of(folder, after).of("a0").code


def test_an_adapter_that_may_change_what_another_uses_is_in_the_code_of_the_other(tmp_path: Path):
    """A sample of all ways to use something and to change it."""
    found = [is_followed(tmp_path, *one) for one in Random(1).sample(list(ways()), PAIRS)]
    assert found.count(True) > PAIRS // 20
    assert False not in found


ALIASES: Final = (Path(__file__).parent / "source_aliases.txt").read_text().split("---\n")[1:]


@pytest.mark.parametrize("other", ALIASES)
@pytest.mark.parametrize(("used", "changed"), [("S0", "T0"), ("T0", "S0")])
def test_a_value_is_followed_through_its_other_names(tmp_path: Path, other: str, used: str, changed: str):
    change = [f"{changed}.append('z')"]
    assert is_followed(tmp_path, f"str({used})[:40]", change, other)
    assert is_followed(tmp_path, f"'-'.join([y for y in {used}])", change, other)
