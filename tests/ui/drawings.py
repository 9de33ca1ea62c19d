"""The accessible names in a drawing."""

from __future__ import annotations

from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"


def spoken(element: ElementTree.Element) -> str:
    """Return the accessible name of a part of an SVG. A title replaces the text next to it."""
    if element.get("aria-hidden"):
        return ""
    title = element.find(f"{SVG}title")
    if title is not None:
        return f"{title.text} "
    return (element.text or "") + "".join(f"{spoken(child)}{child.tail or ''}" for child in element) + " "


def names(text: str) -> list[str]:
    """Return the accessible names of the links of a drawing."""
    return [" ".join(spoken(one).split()) for one in ElementTree.fromstring(text).iter(f"{SVG}a")]
