"""Steps of which one has an effect outside: it adds a line to `{data_dir}/mail.log`."""

from __future__ import annotations

import os

from playhead import Context, Item, Reject, Retry, adapter


@adapter("page", produces="text/plain")
def page(item: Item, ctx: Context) -> str:
    """Fail the first attempts at some items, and reject others until the file `repaired` exists."""
    if item.text.endswith("late") and ctx.attempt == 1:
        raise Retry("not yet", after=0.1)
    if item.text.endswith("bad") and not os.path.exists(f"{ctx.data_dir}/repaired"):
        raise Reject("this is bad")
    return item.text.upper()


@adapter("title", produces="text/plain")
def title(item: Item) -> str:
    return item.text.title()


@adapter("mail", effects="external")
def mail(item: Item, ctx: Context) -> None:
    # One write to a file opened for appending: lines of processes never mix, and survive their writer.
    fd = os.open(f"{ctx.data_dir}/mail.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{ctx.execution_id} {item.path}\n".encode())
    os.close(fd)
