"""What a result depends on, found by what its steps read of their items.

The result of an item that equals an earlier one in its bytes may be used again, although the item has another
path or other attributes, if no step has read these. So steps get items and contexts that note what is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from playhead.ports.adapter import Context, Item, Output
from playhead.ports.catalog.work import READS_ATTRIBUTES, READS_MESSAGE, READS_PATH
from playhead.steps.outputs import Returned


class Reads:
    """What the steps of one attempt have read. Several threads of a step may add to it at once."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: set[int] = set()

    @property
    def found(self) -> int:
        """`READS_…` of `ports.catalog.work`, added."""
        return sum(self.seen)

    def item(self, item: Item) -> Item:
        """Return an item that notes its reads here."""
        found: Item = _watched(item, _WatchedItem, _ITEM, self)
        return found

    def context(self, ctx: Context) -> Context:
        """Return a context that notes its reads here."""
        found: Context = _watched(ctx, _WatchedContext, _CONTEXT, self)
        return found

    def returned(self, inherited: Mapping[str, Any], returned: Returned) -> None:
        """Note what follows from the outputs of a step, and not from what it has read.

        A path that the step gives is not derived from that of the item. If an attribute replaces an inherited
        one, it is not known later which of them an output has.
        """
        for element in returned.elements:
            if isinstance(element, Output):
                if element.path is not None:
                    self.seen.add(READS_PATH)
                if inherited and element.attributes and not inherited.keys().isdisjoint(element.attributes):
                    self.seen.add(READS_ATTRIBUTES)


def _watched(one: Any, kind: type[Any], slots: tuple[Any, ...], reads: Reads) -> Any:
    made = object.__new__(kind)
    for slot in slots:
        slot.__set__(made, slot.__get__(one))
    _READS_OF[kind].__set__(made, reads)
    return made


def _noting(slot: Any, flag: int, reads: Any) -> property:
    def read(self: Any) -> Any:
        reads.__get__(self).seen.add(flag)
        return slot.__get__(self)

    return property(read)


def _values(kind: type[Any], one: Any) -> tuple[Any, ...]:
    return tuple(getattr(one, field.name) for field in fields(kind))


class _WatchedItem(Item):
    __slots__ = ("reads",)

    def __new__(cls, *args: Any, **named: Any) -> Any:
        """Return a plain object, for `dataclasses.replace`."""
        return Item(*args, **named)

    def __reduce_ex__(self, _: Any) -> Any:
        """Pickle a plain item, for example for a child process. What the child reads is not known."""
        return Item, _values(Item, self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and _values(Item, self) == _values(Item, other)

    __hash__ = Item.__hash__


class _WatchedContext(Context):
    __slots__ = ("reads",)

    def __new__(cls, *args: Any, **named: Any) -> Any:
        """Return a plain object, for `dataclasses.replace`."""
        return Context(*args, **named)

    def __reduce_ex__(self, _: Any) -> Any:
        return Context, _values(Context, self)


_READS_OF: Final[Mapping[type[Any], Any]] = {
    kind: vars(kind)["reads"] for kind in (_WatchedItem, _WatchedContext)
}
_NOTED: Final = (
    (_WatchedItem, Item, {"path": READS_PATH, "stage": READS_PATH, "attributes": READS_ATTRIBUTES}),
    (_WatchedItem, Item, {"key": READS_MESSAGE}),
    # The others say nothing of the item: the adapter's logger, its route, what the operator allows.
    (
        *(_WatchedContext, Context),
        dict.fromkeys(
            ("execution_id", "correlation_id", "config_version", "attempt", "replay", "data_dir", "dataset"),
            READS_MESSAGE,
        ),
    ),
)
_ITEM: Final = tuple(vars(Item)[one.name] for one in fields(Item))
_CONTEXT: Final = tuple(vars(Context)[one.name] for one in fields(Context))
for _kind, _base, _noted in _NOTED:
    _kind.__qualname__ = _kind.__name__ = _base.__name__  # for `repr`, which reads everything
    for _name, _flag in _noted.items():
        setattr(_kind, _name, _noting(vars(_base)[_name], _flag, _READS_OF[_kind]))
