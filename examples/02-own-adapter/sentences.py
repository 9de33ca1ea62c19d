"""An adapter that splits prose into sentences; each sentence becomes a file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel, Field

from playhead import Item, Reject, adapter

END = re.compile(r"(?<=[.])\s+")


class SentencesConfig(BaseModel):
    min_length: int = Field(20, ge=1, description="Shorter sentences are dropped.")


@adapter("sentences", version="1", produces="text/plain")
def sentences(item: Item, config: SentencesConfig) -> Iterator[str]:
    """Split prose into sentences, without the headings."""
    if not item.content_type.startswith("text/"):
        raise Reject(f"cannot read {item.content_type}")
    prose = " ".join(line for line in item.text.splitlines() if line and not line.startswith("#"))
    yield from (sentence for sentence in END.split(prose) if len(sentence) >= config.min_length)
