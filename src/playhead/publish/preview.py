"""What a publication would change: the draft is resolved in memory, and nothing is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from playhead.model import PublicationNote, PublicationPreview, StageChanges
from playhead.ports.catalog import Drafts
from playhead.ports.catalog.drafts import Draft, Note
from playhead.publish.content import Overlay
from playhead.publish.resolution import Resolution

_MOST_NOTES: Final = 100


async def preview(
    catalog: Drafts, draft: Draft, keep: Callable[[], Awaitable[None]], *, expect_seq: int
) -> PublicationPreview:
    """Resolve what `preview_publication` returned. Raises the refusal. See `Resolution` for `keep`."""
    content = Overlay(catalog, draft)
    found = await Resolution(catalog, draft, content, keep).run()
    return PublicationPreview(
        dataset=draft.name,
        config=draft.config,
        base=draft.base or None,
        expect_seq=expect_seq,
        counts={stage: StageChanges(**one) for stage, one in found.counts.items()},
        units=found.units,
        notes=[_note(draft, one) for one in content.notes[:_MOST_NOTES]],
    )


def _note(draft: Draft, note: Note) -> PublicationNote:
    part = next(one for one in draft.parts if one.execution == note.execution)
    return PublicationNote(note.kind, *note.place, part.id, None, note.detail)
