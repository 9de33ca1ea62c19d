"""Steps of the demo data: a handbook of web pages, cut into sections, with effects outside of Playhead."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator

from pydantic import BaseModel, Field

from playhead import Item, Output, Reject, adapter

SECTIONS = "1"
"""The fix of `sections` changes this to "2"."""


@adapter("check_utf8")
def check_utf8(item: Item) -> bytes:
    """Refuse an input that is not UTF-8."""
    try:
        item.data.decode()
    except UnicodeDecodeError:
        raise Reject("not UTF-8") from None
    return item.data


class SectionsConfig(BaseModel):
    level: int = Field(2, ge=1, le=6, description="Level of the headings that begin a section.")


@adapter("sections", version=SECTIONS, produces="text/markdown")
def sections(item: Item, config: SectionsConfig) -> Iterator[Output]:
    """Cut a page before each heading of a level."""
    parts = re.split(rf"(?m)^(?={'#' * config.level} )", item.text)
    for number, part in enumerate((part for part in parts if part.strip()), 1):
        title, *body = part.strip().splitlines()
        if SECTIONS == "1":
            body[0]  # the bug: a heading may have no text
        yield item.derive(part.strip() + "\n", title=title.strip("# "), section=number)


@adapter("summary", version="7", produces="text/markdown", effects="external")
def summary(item: Item) -> str:
    """Ask a service for a summary; here, the first sentence."""
    text = " ".join(line for line in item.text.splitlines() if line and not line.startswith("#"))
    return text.partition(". ")[0] + ".\n"


@adapter("link_list", version="2", produces="application/json")
def link_list(item: Item) -> str:
    """List the links of a page."""
    links = re.findall(r"\]\(([^)]+)\)", item.text)
    return "[" + ", ".join(f'"{link}"' for link in links) + "]"


@adapter("vector", version="4", produces="application/json", effects="external")
def vector(item: Item) -> str:
    """Ask a service for a vector; here, a few bytes of a hash."""
    digest = hashlib.sha256(item.data).digest()[:8]
    return '{"vector": [' + ", ".join(f"{byte / 255:.3f}" for byte in digest) + "]}"


@adapter("post_message", effects="external")
def post_message(item: Item) -> None:
    """Send a message to a chat; here, nothing is sent."""
    time.sleep(0.001)


class PostConfig(BaseModel):
    cause: str


@adapter("post")
def post(item: Item, config: PostConfig) -> str:
    """Fail for one of three causes."""
    if config.cause == "currency":
        return str({"EUR": 1}[json.loads(item.data)["currency"]])
    if config.cause == "rates":
        raise TimeoutError(f"https://rates.example/v2/quote?{'order=' * 40} did not answer within 30 s")
    raise Reject(f"{item.path} has no customer")


class FailConfig(BaseModel):
    message: str = "the service answered 500"


@adapter("fail")
def fail(item: Item, config: FailConfig) -> str:
    """Fail each time."""
    raise RuntimeError(config.message)
