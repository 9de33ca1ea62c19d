"""Every dispatch of an execution has its `traceparent`, whichever process publishes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.envelope import Dispatch
from playhead.ids import uuid7
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from tests.lab import asked

if TYPE_CHECKING:
    from playhead.model import Replay
    from tests.lab import Lab, Started

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def traced(catalog: Catalog, lab: Lab, *paths: str) -> tuple[UUID, list[Dispatch]]:
    """A run under a span, with its dispatches published; its job is not closed."""
    version = await lab.save(lab.DOCS)
    run = await catalog.open_run(
        uuid7(), "docs", version, tags=[], owner="w1", lease=lab.LEASE, traceparent=TRACEPARENT
    )
    execution = run.execution_id
    await catalog.bind_inputs(execution, [lab.input(path) for path in paths])
    assert await catalog.seal(execution)
    held = await lab.hold(execution)
    assert held.headers.traceparent == TRACEPARENT
    dispatches = await lab.list_all(held, *(f"{execution}/input/{path}" for path in paths))
    await catalog.mark(held, dispatches[-1].ordinal or 0)
    return execution, dispatches


async def traced_replay(catalog: Catalog, lab: Lab, source: UUID) -> Replay:
    opened = await catalog.open_replay(
        batch=uuid7(),
        request=asked(source, "input", "convert"),
        prefix=f"{source}/input",
        config="docs",
        version=await lab.save(lab.DOCS),
        route="convert",
        traceparent=TRACEPARENT,
    )
    return opened.replay


def spans(dispatches: Sequence[Dispatch]) -> list[str | None]:
    return [dispatch.headers.shared().get("traceparent") for dispatch in dispatches]


async def test_dispatches_of_a_run_carry_the_span_of_its_creation(catalog: Catalog, lab: Lab):
    _, dispatches = await traced(catalog, lab, "a.md", "b.md")

    assert spans(dispatches) == [TRACEPARENT] * 2


async def test_dispatches_of_a_replay_carry_the_span_of_its_creation(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    replay = await traced_replay(catalog, lab, source)

    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, f"{source}/input/a.md")

    assert spans(dispatches) == [TRACEPARENT]
    assert (await lab.claim(UUID(dispatches[0].correlation_id))).traceparent == TRACEPARENT


async def test_a_process_that_takes_over_a_job_publishes_under_the_same_span(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a.md")
    replay = await traced_replay(catalog, lab, source)
    await lab.list_all(await lab.hold(replay.execution_id, "gone"), f"{source}/input/a.md")
    lab.clock.advance(lab.LEASE + 1)

    held = await lab.hold(replay.execution_id, "w2")

    assert held.headers.traceparent == TRACEPARENT
    left = await lab.unpublished(held, limit=10)
    assert spans(left) == [TRACEPARENT]
    await catalog.mark(held, left[-1].ordinal or 0, uncertain=left)
    assert spans(await catalog.unsettled(held, limit=10)) == [TRACEPARENT]


async def test_a_claim_and_its_children_have_the_span(catalog: Catalog, lab: Lab):
    _, dispatches = await traced(catalog, lab, "a.md")

    claim = await lab.claim(UUID(dispatches[0].correlation_id))
    children = await lab.done(claim, lab.output("1.md"), publisher="gone")

    assert claim.traceparent == TRACEPARENT
    assert spans(children) == [TRACEPARENT]
    refusal = await lab.refusal(claim.correlation_id)
    assert spans(refusal.children) == [TRACEPARENT]
    assert spans(await catalog.orphans("w2", limit=10)) == [TRACEPARENT]


async def test_a_retry_is_dispatched_under_the_span_even_after_a_long_delay(catalog: Catalog, lab: Lab):
    _, dispatches = await traced(catalog, lab, "a.md")
    await lab.fail(await lab.claim(UUID(dispatches[0].correlation_id)), delay=3600)

    lab.clock.advance(3601)

    assert spans(await catalog.due("w2", limit=10)) == [TRACEPARENT]


async def test_a_lost_dispatch_is_published_again_under_the_span(catalog: Catalog, lab: Lab):
    await traced(catalog, lab, "a.md")

    assert spans(await catalog.redeliver_lost("w2", "docs.convert", limit=10)) == [TRACEPARENT]


async def test_a_resent_dead_letter_is_dispatched_under_the_span(catalog: Catalog, lab: Lab):
    execution, dispatches = await traced(catalog, lab, "a.md")
    await lab.kill(UUID(dispatches[0].correlation_id))

    await catalog.resend(where=DeadLetterFilter(execution=execution))

    assert spans(await catalog.orphans("w2", limit=10)) == [TRACEPARENT]


@pytest.mark.parametrize("kind", ["run", "replay"])
async def test_without_a_span_there_is_no_header(kind: str, catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    made: Started = run
    if kind == "replay":
        made = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")

    assert all("traceparent" not in dispatch.headers.shared() for dispatch in made.dispatches)
    claim = await lab.claim(made.ids[0])
    assert claim.traceparent is None
    children = await lab.done(claim, lab.output("1.md"))
    assert all("traceparent" not in dispatch.headers.shared() for dispatch in children)
