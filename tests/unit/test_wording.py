"""What commands and pages say of an object of publications."""

from __future__ import annotations

import pytest

from playhead.model import PublicationRange, PublishedIn
from playhead.wording import published_text


@pytest.mark.parametrize(
    ("since", "ranges", "text"),
    [
        (1, [(1, 1)], "current in docs since 1"),
        (1, [(1, 3)], "current in docs since 1"),
        (3, [(1, 1), (3, 3)], "current in docs since 3, was in 1"),
        (None, [(2, 2)], "was in docs 2"),
        (None, [(1, 2), (4, 4)], "was in docs 1 to 2, 4"),
    ],
)
def test_an_object_says_in_which_publications_it_is(
    since: int | None, ranges: list[tuple[int, int]], text: str
):
    one = PublishedIn("docs", "docs", since, [PublicationRange(*pair) for pair in ranges])
    assert published_text(one) == text
