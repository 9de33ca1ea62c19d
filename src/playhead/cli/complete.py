"""Values that Tab offers: existing names.

On any error, nothing is offered and nothing is printed: the user is in the middle of a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from playhead.terminal import is_visible, visible

if TYPE_CHECKING:
    from playhead.cli.names import Names

Offer = str | tuple[str, str]
"""A value, or a value and its description."""
Completer = Callable[[typer.Context, str], list[Offer]]

_DECORATED: Final = r"""@adapter\(\s*(?:name\s*=\s*)?["']([^"']+)["']"""


def flags_of(ctx: typer.Context) -> dict[str, str | None]:
    """Return the flags so far that name a home, catalog or server; the nearest to the command wins."""
    flags: dict[str, str | None] = {}
    at: Any = ctx
    while at is not None:
        for name in ("home", "catalog", "server"):
            flags[name] = flags.get(name) or at.params.get(f"after_{name}") or at.params.get(name)
        at = at.parent
    return flags


def _completer(find: Callable[[Names, typer.Context, str], Iterable[Offer]]) -> Completer:
    """Turn a function that offers names into a completer."""

    def complete(ctx: typer.Context, incomplete: str) -> list[Offer]:
        from playhead.cli.names import find_names

        try:
            names = find_names(flags_of(ctx))
            offers = find(names, ctx, incomplete) if names else ()
            return [*_shown(offers, incomplete)]
        except Exception:
            return []

    return complete


def _shown(offers: Iterable[Offer], incomplete: str) -> Iterator[Offer]:
    """Return the offers for a word. Values with hidden characters are omitted: they can look like others."""
    for offer in offers:
        value, description = (offer, "") if isinstance(offer, str) else offer
        if value.startswith(incomplete) and is_visible(value):
            yield (value, visible(description)) if description else value


@_completer
def execution(names: Names, ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """`latest`, `latest:CONFIG`, `tag:NAME`, ids."""
    yield from _executions(names)


def _executions(names: Names) -> Iterator[Offer]:
    yield "latest", "the newest run"
    yield "latest:replay", "the newest replay"
    for config, _ in names.configs():
        yield f"latest:{config}", "the newest run of that config"
    for tag in names.tags():
        yield f"tag:{tag}", "the newest with that tag"
    for dataset, about in names.datasets():
        yield f"current:{dataset}", f"what its readers see: {about}"
    yield from names.executions()


@_completer
def earlier_run(names: Names, ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """`previous`, and what names any execution."""
    yield "previous", "the newest run of the config that has processed all inputs"
    yield from _executions(names)


@_completer
def replay(names: Names, ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """`latest:replay`, and the ids of the executions of replays."""
    yield "latest:replay", "the newest replay"
    yield from ((identity, about) for identity, about in names.executions() if about.startswith("replay"))


@_completer
def tag(names: Names, ctx: typer.Context, incomplete: str) -> Iterable[Offer]:
    return list[Offer](names.tags())


@_completer
def config(names: Names, ctx: typer.Context, incomplete: str) -> Iterable[Offer]:
    return [(name, "active" if active else "not active") for name, active in names.configs()]


@_completer
def config_to_run(names: Names, ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Names of active configs, and YAML files; the shell itself completes folders."""
    for name, active in names.configs():
        if active:
            yield name, "config"
    yield from _files(incomplete)


def _files(incomplete: str) -> Iterator[Offer]:
    folder, _, begun = incomplete.rpartition("/")
    within = Path(folder or ("/" if incomplete.startswith("/") else "."))
    for place in sorted(within.iterdir()):
        if place.suffix in (".yaml", ".yml") and place.name.startswith(begun or place.name.lstrip(".")):
            yield incomplete[: len(incomplete) - len(begun)] + place.name, "file"


@_completer
def stage(names: Names, ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """The stages of the execution that the line names."""
    yield "input"
    yield from names.stages(ctx.params["execution"])


@_completer
def route(names: Names, ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Names of routes: with the config if the line has one, or if several configs have that route."""
    routes = names.routes()
    every = [name for _, name, _ in routes]
    for of, name, its_queue in routes:
        alone = every.count(name) == 1 and "/" not in incomplete
        yield name if alone else f"{of}/{name}", its_queue


@_completer
def dataset(names: Names, ctx: typer.Context, incomplete: str) -> Iterable[Offer]:
    return list[Offer](names.datasets())


@_completer
def queue(names: Names, ctx: typer.Context, incomplete: str) -> Iterable[Offer]:
    return [(its_queue, f"{of}/{name}") for of, name, its_queue in names.routes()]


@_completer
def dead_letter(names: Names, ctx: typer.Context, incomplete: str) -> Iterable[Offer]:
    chosen = {str(identity) for identity in ctx.params.get("identities") or ()}
    return [(identity, why) for identity, why in names.dead_letters() if identity not in chosen]


def adapter(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Types of adapters: built-in ones, those of installed packages, and those of the operator's files.

    No adapter is imported: the names come from file names, entry points and decorators.
    """
    try:
        from importlib.metadata import entry_points

        import playhead
        from playhead.cli.names import setting

        found = [f.stem for f in (Path(playhead.__file__).parent / "adapters").glob("[a-z]*.py")]
        found += [point.name for point in entry_points(group="playhead.adapters")]
        for name in (setting("adapters", {}) or "").split(","):
            if name.strip().endswith(".py"):
                found += re.findall(_DECORATED, Path(name.strip()).read_text(encoding="utf-8"))
        return [*(name for name in sorted(set(found)) if name.startswith(incomplete))]
    except Exception:
        return []
