"""A step that fails for some texts until the file `open` is in the data folder."""

from __future__ import annotations

from pathlib import Path

from playhead import Context, Item, Reject, adapter


@adapter("gated")
def gated(item: Item, ctx: Context) -> str:
    """The text in capitals."""
    if "broken" in item.text and not Path(ctx.data_dir, "open").exists():
        raise Reject("this text is broken")
    return item.text.upper()
