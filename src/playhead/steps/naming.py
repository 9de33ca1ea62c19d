"""The path of an output whose adapter does not name one.

The form of what a step returns decides, never the number of outputs. So a path is a file in every run, or a
folder in every run. Only the suffixes in `keys.SUFFIX_TYPES` count as suffixes.
"""

from __future__ import annotations

from playhead.keys import TYPE_SUFFIXES, bare, stem


def suffix(content_type: str) -> str:
    """Return the suffix of a content type; empty if the table has none."""
    return TYPE_SUFFIXES.get(bare(content_type), "")


def alone(path: str, old_type: str, new_type: str) -> str:
    """Return the path of a single output: the input's path, with the suffix of the new content type.

    >>> alone("guide/page.html", "text/html", "text/markdown"), alone("README", "text/plain", "text/markdown")
    ('guide/page.md', 'README.md')
    """
    if bare(old_type) == bare(new_type) or not suffix(new_type):
        return path
    return stem(path, old_type) + suffix(new_type)


def numbered(folder: str, number: int, content_type: str) -> str:
    """Return the path of one of several outputs; `folder` is the input's stem, `number` starts at 1.

    >>> numbered("page", 1, "text/markdown")
    'page/0001.md'
    """
    return f"{folder}/{number:04d}{suffix(content_type)}"
