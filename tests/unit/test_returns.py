"""What the return annotation of an adapter promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Optional

import pytest

from playhead import Item, Output
from playhead.ports.returns import Returns, read_annotation

SCOPE = {"Output": Output, "Item": Item, "Sequence": Sequence, "Any": Any}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, Returns("output")),
        ("str | bytes", Returns("output")),
        (Output, Returns("output")),
        (None, Returns("nothing")),
        ("None", Returns("nothing")),
        (Optional[str], Returns()),  # noqa: UP045 - the old spelling is read as well
        (Iterator[str], Returns()),
        (list[Output], Returns()),
        (AsyncIterator[bytes], Returns()),
        (Any, Returns()),
        ("NotDefined", Returns()),
        (dict[str, int], Returns(wrong="dict[str, int]")),
        ("int", Returns(wrong="int")),
        (Item, Returns(wrong="Item")),
        ("str | dict", Returns()),
        ("dict | int", Returns(wrong="dict | int")),
    ],
)
def test_an_annotation_is_read(annotation: Any, expected: Returns):
    assert read_annotation(annotation, SCOPE, batch=False) == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("list[str]", Returns("output")),
        ("Sequence[Output | None]", Returns()),
        ("list", Returns()),
        ("list[Any]", Returns()),
        ("list[dict]", Returns(wrong="dict")),
        ("str", Returns(wrong="str")),
        ("dict[str, str]", Returns(wrong="dict[str, str]")),
        ("Any", Returns()),
    ],
)
def test_an_annotation_of_a_batch_is_read(annotation: Any, expected: Returns):
    assert read_annotation(annotation, SCOPE, batch=True) == expected
