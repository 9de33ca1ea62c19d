"""What happened to an execution, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from playhead.model import Counts, Execution, Replay
from playhead.web.needs import STOPPED
from playhead.web.outcomes import ending
from playhead.web.render import counted, number


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happened to an execution.

    Attributes:
        state: state of the pill.
        word: short text of the pill.
        sentence: one sentence.
        kind: kind of the note: `ok`, `fail`, `warn` or `info`.
    """

    state: str
    word: str
    sentence: str
    kind: str


def verdict(of: Execution, batch: Replay | None = None) -> Verdict:
    """Return what happened to an execution, in one sentence. `batch` is the replay that it is."""
    found = _verdict(of, batch)
    end = ending(of, batch) if batch else None
    return replace(found, state=end[0], word=end[1][0].upper() + end[1][1:]) if end else found


def _verdict(of: Execution, batch: Replay | None) -> Verdict:
    counts = of.counts
    total = counted(counts.total, "message")
    if of.kind == "publication":
        sentence = "The objects of a publication. They are stored under the executions that produced them."
        return Verdict("none", "Publication", sentence, "info")
    if of.kind == "adopted":
        sentence = "Another program stored these objects. Playhead can replay them, and changes none of them."
        return Verdict("none", "Adopted", sentence, "info")
    if of.status == "running":
        failed = f", {number(counts.failed)} failed" if counts.failed else ""
        sentence = f"{number(counts.pending)} of {total} to go{failed}."
        if batch and batch.state in STOPPED:
            sentence = f"{sentence} The replay is {batch.state}: its page has the button to resume it."
            return Verdict(batch.state, "", sentence, "warn")
        if not counts.total:
            return Verdict("running", "Running", "No messages yet: the inputs are being listed.", "info")
        return Verdict("running", "Running", sentence, "fail" if counts.failed else "info")
    if of.status == "cancelled":
        done = f"{number(counts.completed)} of {total} were done before."
        left = f" {number(counts.cancelled)} were not processed." if counts.cancelled else ""
        return Verdict("cancelled", "Cancelled", f"Cancelled on request. {done}{left}", "warn")
    if of.status == "failed":
        parts = [f"{number(counts.failed)} of {total} failed."] if counts.failed else []
        if of.error:
            parts.insert(0, f"Not all inputs became messages ({of.error.code}): {of.error.message}.")
        word = f"Failed: {number(counts.failed)} of {number(counts.total)}" if counts.failed else "Failed"
        return Verdict("failed", word, " ".join(parts).replace("..", ".") + _reused(counts), "fail")
    if not counts.total:
        what = "The stage had no objects." if of.kind == "replay" else "The run had no inputs."
        return Verdict("completed", "Completed", f"{what} There was nothing to do.", "info")
    is_one = counts.total == 1
    sentence = f"{'The only message is' if is_one else f'All {total} are'} done.{_reused(counts)}"
    return Verdict("completed", "Completed", sentence, "ok")


def _reused(counts: Counts) -> str:
    if not counts.taken_over:
        return ""
    declared = f", {number(counts.declared_valid)} of them declared valid" if counts.declared_valid else ""
    return f" {number(counts.processed)} were processed, {number(counts.taken_over)} reused{declared}."
