"""Runs over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from uuid import UUID

from playhead.model import Compare, Execution
from playhead.ports.inputs import Content, read
from playhead.reading.codecheck import Warn, no_warning
from playhead.remote.client import WORK_SECONDS, segment
from playhead.remote.derived import Remote
from playhead.remote.uploads import Upload


class RemoteSubmit(Remote):
    """Remote `SubmitService`."""

    async def run(
        self,
        config: str,
        inputs: AsyncIterable[tuple[str, Content]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        require_code: bool = False,
        changed_since: UUID | None = None,
        compare: Compare = "code",
        reuse: bool = False,
        warn: Warn = no_warning,
        indexed: Callable[[int], None] = lambda count: None,
    ) -> Execution:
        """Stream the inputs to the server, which starts the run once it has stored all of them."""
        fields = [("tags", tag) for tag in tags]
        if version is not None:
            fields.append(("config_version", str(version)))
        if changed_since is not None:
            fields += [("changed_since", str(changed_since)), ("compare", compare)]
        if reuse:
            fields.append(("reuse", "true"))
        # One at a time: each may be as large as an object, and the next is read when this one was sent.
        upload = Upload(fields, ((path, (await read([content]))[0]) async for path, content in inputs))
        return await self._client.post(
            f"configs/{segment(config)}/run",
            Execution,
            lost=(
                "if the server received all inputs, the execution runs. Check with: "
                f"playhead executions --config {config} --server {self._client.shown}"
            ),
            content=upload.body(),
            content_type=upload.content_type,
            seconds=WORK_SECONDS,
            query={"require_code": "true"} if require_code else {},
            warn=warn,
        )
