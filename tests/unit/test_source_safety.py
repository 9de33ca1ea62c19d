"""If the fingerprint of an adapter stays the same after an edit, so does what the adapter returns."""

from __future__ import annotations

from pathlib import Path
from random import Random

from playhead.sourcecode import roots
from playhead.sourcecode.roots import SourceCode
from tests.unit.random_modules import Modules, results
from tests.unit.random_statements import ADAPTERS

PROGRAMS = 120


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
            assert codes.of(kind).whole is None, "whole files would hide what this test looks for"
            if codes.of(kind).code != then.of(kind).code:
                changed += 1
                continue
            same += 1
            returned = [[text for name, text in some if name == kind] for some in (old, new)]
            assert returned[0] == returned[1], f"{kind} in program {seed}:\n{before.difference(after)}"
    assert min(same, changed) > PROGRAMS // 4, "the edits are neither all harmless nor all harmful"
