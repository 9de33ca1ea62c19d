"""Writes random modules whose adapters share code and state in hostile ways."""

from __future__ import annotations

import re
from random import Random
from typing import Final

Statements = list[str]
STATES: Final = ("S0", "S1", "S2")
FUNCTIONS: Final = ("f0", "f1", "f2", "f3")
CLASSES: Final = ("C0", "C1")
OTHERS: Final = ("T0", "T1")
NUMBERS: Final = ("N0", "N1")
ADAPTERS: Final = ("a0", "a1", "a2")
HEAD: Final = (
    "import helper",
    "import helper as other",
    "from helper import S0 as R0, f0 as g0, C0 as D0, N0 as M0",
    "from functools import lru_cache, partial, wraps",
    "from playhead import adapter",
)
_TAIL: Final = """
def show(value):
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(show(one) for one in value[:6]) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(str(k) + ":" + show(v) for k, v in list(value.items())[:6]) + "}"
    return str(value)[:40] if isinstance(value, (str, int, float)) else type(value).__name__
"""


class Writer:
    """Writes statements.

    Args:
        in_helper: they are those of the module that the adapters import.
    """

    def __init__(self, random: Random, *, in_helper: bool = False) -> None:
        self._random = random
        self._in_helper = in_helper
        self._hostility = random.choice((1, 1, 2, 3, 8))
        self._few_of: dict[str, list[int]] = {}

    def _few(self, what: str, count: int) -> int:
        """Return one of a few numbers below a limit. Otherwise everything would use everything."""
        few = self._few_of.setdefault(what, [self._random.randrange(count) for _ in range(self._hostility)])
        return self._random.choice(few)

    def _of(self, *texts: str) -> str:
        return self._random.choice(texts)

    def state(self) -> str:
        names = [*STATES, *OTHERS]
        if not self._in_helper:
            names += ["R0", "helper.S0", "helper.S1", "other.S0"]
        return self._of(*names)

    def function(self) -> str:
        return self._of(*FUNCTIONS, *(() if self._in_helper else ("g0", "helper.f0", "other.f1")))

    def type(self) -> str:
        return self._of(*CLASSES, *(() if self._in_helper else ("D0", "helper.C0", "other.C1")))

    def number(self) -> str:
        return self._of(*NUMBERS, *(() if self._in_helper else ("M0", "helper.N0", "other.N1")))

    def word(self) -> str:
        return repr(self._random.choice("pqrs"))

    def value(self, x: str) -> str:
        """An expression that is the text of something."""
        if self._random.random() < 0.4:
            return self._of(x, self.word(), f"str({self.number()})", f"str({self.state()})[:30]")
        texts = self.values(x)
        return texts[self._few("value", len(texts))]

    def values(self, x: str) -> tuple[str, ...]:
        """All ways to use something."""
        s, f, c, n = self.state(), self.function(), self.type(), self.number()
        return (
            *(
                self.word(),
                self.word(),
                x,
                f"str({n})",
                f"str({n})",
                f"show({s})",
                f"str({s})[:40]",
                f"str([*{s}, *{s}[:1]])[:40]",
                f"str(len({s}))",
            ),
            *(
                f"{f}({x})",
                f"{f}({x})",
                f"{f}({self.word()})",
                f"{c}().m({x})",
                f"show({c}.n)",
                f"show({c}.k)",
            ),
            *(f"show({s}[:2])", f"'-'.join({s})[:40]", f"str({x} in {s})", f"show(sorted({s}))"),
            *(
                f"show([{f}(y) for y in {s}[:3]])",
                f"show([y for y in {s}])",
                f"show(getattr({f}, 'n', 0))",
                f"show({c}().seen)",
            ),
            *(f"show(list(map({f}, {s}[:3])))", f"(lambda y: {f}(y))({x})", f"show({s}.copy())"),
            *(
                f"show({s}.count({x}))",
                f"({s} and 'full') or 'empty'",
                f"{f}.__name__",
                f"type({c}()).__name__",
            ),
            *(
                f"show(partial({f}, {x})())",
                f"str(isinstance({x}, {c}))",
                f"show([*{s}])",
                f"show({f} is {self.function()})",
                f"show(getattr({c}.m, 'n', 0))",
            ),
        )

    def action(self, x: str) -> list[str]:
        """Statements of a function that change something."""
        actions = self.actions(x)
        return actions[self._few("action", len(actions))]

    def actions(self, x: str) -> list[list[str]]:
        """All ways to change something."""
        s, f, c = self.state(), self.function(), self.type()
        n = self._of(*NUMBERS)
        v = self.value(x)
        return [
            [f"{s}.append({v})"],
            [f"{s}.append({v})"],
            [f"{s}[:0] = [{v}]"],
            [f"del {s}[:1]"],
            [f"z = {s}", f"z.append({v})"],
            [f"[y.append({v}) for y in [{s}]]"],
            [f"global {n}", f"{n} = {v}"],
            [f"global {n}", f"{n} = {v}"],
            [f"global {(t := self._of(*STATES))}", f"{t} = {t} + [{v}]"],
            [f"global {(t := self._of(*STATES))}", f"{t} += [{v}]"],
            [f"global {(t := self._of(*FUNCTIONS))}", f"{t} = {f}"],
            [f"{f}.n = {v}"],
            [f"z = {f}", f"z.n = {v}"],
            [f"{c}.n = {v}"],
            [f"{c}.k.append({v})"],
            [f"{c}().k.append({v})"],
            [f"{c}().m({v})"],
            [f"setattr({c}, 'n', {v})"],
            [f"type({c}()).n = {v}"],
            [f"{c}().__class__.n = {v}"],
            [f"for z in [{c}]:", f"    z.n = {v}"],
            [f"change({s}, {v})"],
            [f"mark({self._of(f, c)}, {v})"],
            [f"{f}({v})"],
            [f"{f}({v})"],
            ["def inner(y):", f"    {s}.append(y)", f"inner({v})"],
            [f"{s}.append([{v}])"],
            [f"{s}[0].append({v})"],
            [f"for y in {s}[:3]:", f"    y.append({v})"],
            [f"z = {s}[:1] + {s}[1:2]", f"z[0].append({v})"],
            [f"list.append({s}, {v})"],
            [f"max({s}, {s}).append({v})"],
            [f"min([], key=len, default={s}).append({v})"],
            [f"({s} or []).append({v})"],
            [f"for z in zip({s}):", f"    z[0].append({v})"],
            [f"list(map({s}.append, [{v}]))"],
            [f"for z in [*{s}][:2]:", f"    z.append({v})"],
            [f"{s}.append({self._of(*FUNCTIONS)})", f"{s}[-1].n = {v}"],
            [f"{f}.__dict__['n'] = {v}"],
            [f"{f}.__dict__.update(n={v})"],
            [f"vars({c}()).update(k={v})"],
            [f"sorted({s}, key={s}.append)"],
            [f"(lambda z={s}: z.append({v}))()"],
            [f"match [{s}]:", "    case [z]:", f"        z.append({v})"],
            [f"with_list, *rest = {s}, 1", f"with_list.append({v})"],
            [f"{s}.__iadd__([{v}])"],
            [f"{c}.m = lambda self, x: {v}"],
            [f"setattr({c}.m, 'n', {v})"],
            [f"z = {c}.m", f"z.n = {v}"],
            [f"type.__setattr__({c}, 'n', {v})"],
            [f"del {c}.n"],
            ["from operator import iadd", f"iadd({s}, [{v}])"],
            ["from random import shuffle", f"{s}[:] = [{v}]", f"shuffle({s})"],
            [f"partial({s}.append, {v})()"],
            [f"z = ({s},)", f"z[0].append({v})"],
            [f"{{**{{'a': {s}}}}}['a'].append({v})"],
            [f"dict.fromkeys('a', {s})['a'].append({v})"],
            [f"dict(zip('a', [{s}]))['a'].append({v})"],
            [f"list(({s},))[0].append({v})"],
            [f"sum([[{s}]], [])[0].append({v})"],
            [f"list(map(list.append, [{s}], [{v}]))"],
            [f"(z := {s}).append({v})"],
            [f"if z := {s}:", f"    z.append({v})"],
            [f"if {x} in (z := {s}) or True:", f"    z.append({v})"],
            [f"len(z := {s})", f"z.append({v})"],
            ["def inner():", f"    return {s}", f"inner().append({v})"],
            ["def inner():", f"    yield {s}", f"next(inner()).append({v})"],
            ["def inner():", f"    yield from [{s}]", f"next(inner()).append({v})"],
            ["class Inner:", f"    z = {s}", f"Inner.z.append({v})"],
            ["class Inner:", f"    def __init__(self):\n            self.z = {s}", f"Inner().z.append({v})"],
            [f"z = {s}.append", f"z({v})"],
            [f"getattr({s}, 'append')({v})"],
            [f"z = {s}", f"z += [{v}]"],
            [f"f'{{{s}.append(1)}}'"],
            [f"assert {s}.append({v}) is None"],
            [f"({s} if x else []).append({v})"],
            ["from contextlib import nullcontext", f"with nullcontext({s}) as z:", f"    z.append({v})"],
            ["def inner():", f"    global {n}", f"    {n} = {v}", "inner()"],
            [f"global {n}", f"for {n} in [{v}]:", "    pass"],
            [f"global {n}", f"[{n} := {v} for y in 'a']"],
            [f"global {n}", f"import string as {n}"],
            [f"globals()['{n}'] = {v}"],
            ["import sys", f"sys.modules['helper'].N0 = {v}", "sys.modules['helper'].S0.append('m')"],
            ["eval(\"S0.append('e')\")"],
            [f"for z in [{f}]:", f"    z.n = {v}"],
            [f"{f}.__kwdefaults__ = None", f"{f}.n = {v}"],
            ["try:", f"    raise KeyError({s})", "except KeyError as z:", f"    z.args[0].append({v})"],
            [f"{s}.extend({self.state()}[:3])"],
            [f"x = {v}"],
            [f"{self.value(x)}"],
            [f"if {x} in {s}:", f"    {self.state()}.append({v})"],
            [f"with_state = dict(a={s})", f"with_state['a'].append({v})"],
            *([] if self._in_helper else self._to_helper(v)),
        ]

    def _to_helper(self, v: str) -> list[list[str]]:
        return [
            [f"helper.N0 = {v}"],
            [f"helper.f0 = {self.function()}"],
            [f"helper.S0 = [{v}]"],
            [f"setattr(helper, 'N0', {v})"],
            ["import helper as z", f"z.S1.append({v})"],
            ["from helper import S1 as z", f"z.append({v})"],
            ["from importlib import import_module", f"import_module('helper').S0.append({v})"],
            ["import importlib", f"importlib.import_module('helper').N1 = {v}"],
        ]

    def body(self, x: str = "x") -> list[str]:
        lines: list[str] = []
        for _ in range(
            self._random.choice((0, 0, 0, 0, 1, 1, 2))
            if self._hostility > 1
            else self._random.random() < 0.15
        ):
            lines += self.action(x)
        declared = [line for line in dict.fromkeys(lines) if line.startswith("global")]
        lines = [*declared, *(line for line in lines if not line.startswith("global"))]
        return [
            f"    {line}" for line in ["tick()", *lines, f"return ({self.value(x)} + {self.value(x)})[:80]"]
        ]

    def define_function(self, name: str) -> str:
        decorators = ("@wrapped", "@counted", "@registered", "@lru_cache", "@lru_cache(maxsize=2)", "@tagged")
        decorator = self._of("", "", "", "", decorators[self._few("decorator", 6)])
        before = self._of("change", *FUNCTIONS[: FUNCTIONS.index(name)])
        head = self._of(
            *(f"def {name}(x):",) * 3 * (4 - min(self._hostility, 3)),
            f"def {name}(x, seen=[]):\n    seen.append(x)\n    x = str(len(seen)) + x",
            f"def {name}(x, state={self._of(*STATES)}):\n    x = x + show(state)",
            f"def {name}(x, *, inner={before}):",
        )
        if self._random.random() < 0.08:
            return f"{name} = lambda x: {self.value('x')}"
        if self._random.random() < 0.05:
            return f"{name} = {before}"
        if self._random.random() < 0.05:
            return f"{name} = wrapped({before})"
        if self._random.random() < 0.06:
            yes, no = (
                "\n".join([head, *self.body()]),
                f"def {name}(x):\n    tick()\n    return {self.value('x')}",
            )
            return f"if {self._of('N0 == 1', 'S0', 'True')}:\n{_indented(yes)}\nelse:\n{_indented(no)}"
        return "\n".join([*([decorator] if decorator else []), head, *self.body()])

    def define_class(self, name: str) -> str:
        base = self._of("", "", "", "(C0)" if name == "C1" else "", "(Base)" if self._hostility > 1 else "")
        n = self._of("'n'", "'n'", "1", *NUMBERS)
        k = "()" if self._hostility < 2 else self._of("[]", "['k']", *STATES, "()", "()")
        seen = self._of(
            *("self.seen = 'i'",) * (20 // self._hostility**2),
            "self.seen = [x0]",
            "self.seen = show(self.k)",
            "type(self).n = 'made'",
        )
        method = self._of(
            *("",) * (60 // self._hostility**2),
            "self.k.append(x)",
            "self.__class__.n = x",
            "self.n = x",
            f"{self._of(*STATES)}.append(x)",
            "C0.n = x",
        )
        lines = [f"class {name}{base}:", f"    n = {n}", f"    k = {k}", "    seen = 's'"]
        lines += ["    def __init__(self, x0='x0'):", f"        {seen}", "    def m(self, x):"]
        lines += ["        tick()", f"        {method}"] if method else ["        tick()"]
        lines += [f"        return ({self.value('x')} + show(self.n))[:80]"]
        if self._random.random() < 0.05 * self._hostility:
            lines += ["    @classmethod", "    def up(cls, x):", "        cls.n = x", "        return x"]
        return "\n".join(lines)

    def define_state(self, name: str) -> str:
        first, second = self.word(), self.word()
        value = self._of(
            *("[]", f"[{first}]", f"[{first}, {second}]", f"[{first}]", f"[y for y in [{first}, {second}]]"),
            *(f"list({first})", "'a b'.split()", f"sorted([{second}, {first}])", f"[{first}, *[{second}]]"),
        )
        return f"{name} = {value}"

    def define_other(self, name: str) -> str:
        s = self._of(*STATES, *(() if self._in_helper else ("R0", "helper.S0", "helper.T1")))
        return f"{name} = " + self._of(
            s, s, f"{s} + [{self.word()}]", f"list({s})", f"[show({s})]", f"{s}[:1]"
        )

    def top(self) -> str:
        """A statement at module level that changes something."""
        s, f, c = self.state(), self._of(*FUNCTIONS), self._of(*CLASSES)
        v = self.value(self.word())
        return self._of(
            *(
                f"{s}.append({v})",
                f"{f}({v})",
                f"{c}.n = {v}",
                f"{f}.n = {v}",
                f"{c}.up = classmethod(lambda cls, x: x)",
            ),
            *(
                f"for y in {s}[:2]:\n    {self.state()}.append({v})",
                f"{self._of(*NUMBERS)} = {v}",
                f"mark({f}, {v})",
            ),
            *(f"if {s}:\n    {self._of(*NUMBERS)} = {v}", f"{f} = wrapped({f})", f"{s} = [{v}]", f"U = {v}"),
            *(
                f"try:\n    {self._of(*NUMBERS)} = {v}\nexcept Exception:\n    {f} = None",
                f"change({s}, {v})",
            ),
            *(f"{self._of(*STATES)} += [{v}]", f"del {s}[:1]", f"U = [{s}]\nU[0].append({v})"),
        )

    def helpers(self) -> list[str]:
        """What decorators and helpers of a module are."""
        return [
            "REG = []",
            _TAIL.strip(),
            f"def change(state, x):\n    state.append(x + {self.word()})",
            f"def mark(target, x):\n    target.n = x + {self.word()}",
            "def wrapped(f):\n    @wraps(f)\n    def run(x):\n        tick()\n        return f(x) + "
            + self.word()
            + "\n    return run",
            "def counted(f):\n    count = 0\n    def run(x):\n        tick()\n        nonlocal count\n"
            "        count += 1\n        return f(x) + str(count)\n    return run",
            "def registered(f):\n    REG.append(f)\n    "
            + self._of("pass", "S0.append(chr(97))")
            + "\n    return f",
            f"def tagged(f):\n    f.n = {self.word()}\n    return f",
            "class Base:\n    made = []\n    def __init_subclass__(cls):\n        "
            + self._of("Base.made.append(cls)", "cls.k = []", "S1.append(chr(98))"),
        ]

    def define_adapter(self, name: str) -> str:
        lines = self.body()
        lines[-1] += self._of(
            "", "", "", " + show(len(REG))", " + show([f('y') for f in REG[:2]])", " + show(len(Base.made))"
        )
        return "\n".join([f'@adapter("{name}")', f"def {name}(item):", "    x = item", *lines])

    def define(self, name: str) -> str:
        if name in FUNCTIONS:
            return self.define_function(name)
        if name in CLASSES:
            return self.define_class(name)
        if name in STATES:
            return self.define_state(name)
        if name in OTHERS:
            return self.define_other(name)
        if name in NUMBERS:
            return f"{name} = {self._of('1', '2', self.word(), self.word(), f'str({self._of(*STATES)})')}"
        return self.define_adapter(name) if name in ADAPTERS else self.top()

    def module(self) -> Statements:
        names = [*STATES, *OTHERS, *NUMBERS, *FUNCTIONS, *CLASSES]
        made = [*self.helpers(), *(self.define(name) for name in names)]
        if not self._in_helper:
            made += map(self.define, ADAPTERS)
            made = [*HEAD, *made]
        else:
            made = ["from functools import lru_cache, partial, wraps", *made]
        for _ in range(self._random.choice((0, 0, 0, 1, 2))):
            made.insert(
                self._random.randrange(len(made) - (0 if self._in_helper else 3), len(made) + 1), self.top()
            )
        return made

    def edit(self, module: Statements) -> Statements:
        """Return a module with one statement changed, added or removed."""
        made = [*module]
        at = self._random.randrange(3, len(made))
        name = (re.match(r"(?:@.*\n)*(?:def |class )?(\w+)", made[at]) or [""])[0].split()[-1]
        choice = self._random.random()
        if choice < 0.15:
            made.insert(at + 1, self.top())
        elif choice < 0.25:
            made.insert(at + 1, self.define(self._random.choice([*FUNCTIONS, *CLASSES, *STATES, *NUMBERS])))
        elif choice < 0.3:
            del made[at]
        elif choice < 0.4:
            made[at] = re.sub(r"'([pqrs])'", lambda found: repr(chr(ord(found[1]) + 8)), made[at], count=1)
        else:
            made[at] = self.define(name)
        return made


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
