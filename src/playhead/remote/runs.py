"""Runs and replays over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal
from uuid import UUID

from playhead.engine.codecheck import Warn, no_warning
from playhead.model import Compare, Execution, Page, Plan, PlannedObject, ReplayRequest
from playhead.remote.client import HARMLESS, WORK_SECONDS, Client, segment
from playhead.remote.uploads import Upload


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """The response to a replay request."""

    execution_id: UUID
    from_execution_id: UUID
    from_stage: str
    from_path: str | None
    to_route: str
    to_queue: str
    objects_found: int
    objects_published: int
    objects_failed: int
    status: Literal["publishing_complete", "partial_failure"]
    replay_batch_id: UUID
    errors: list[str] | None


class RemoteReplay:
    """Remote `ReplayService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def execute(self, request: ReplayRequest, warn: Warn = no_warning) -> ReplayAnswer:
        """Start a replay with one request. Return when it is published.

        Raises:
            ReplayContinues: the server stopped waiting, and the replay continues.
        """
        source = f" {request.from_execution_id}" if request.from_execution_id.int else ""
        return await self._client.post(
            "replay",
            ReplayAnswer,
            lost=(
                "the replay may have started, and then it continues. The request was not repeated. "
                f"Check with: playhead replays{source} --server {self._client.shown}"
            ),
            json=_body(request),
            seconds=WORK_SECONDS,
            query=_only_if(request.require_code),
            warn=warn,
        )


class RemotePlan:
    """Remote `PlanService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, request: ReplayRequest, *, verify: bool = False) -> Plan:
        return await self._client.post(
            "replay/plan",
            Plan,
            lost=HARMLESS,
            json=_body(request) | {"verify": verify},
            seconds=WORK_SECONDS,
        )

    async def get(self, plan: UUID) -> Plan:
        return await self._client.get(f"replay/plans/{plan}", Plan)

    async def list(self, cursor: str | None, limit: int) -> Page[Plan]:
        return await self._client.get("replay/plans", Page[Plan], cursor=cursor, limit=limit)

    async def objects(self, plan: UUID, cursor: str | None, limit: int) -> Page[PlannedObject]:
        path = f"replay/plans/{plan}/objects"
        return await self._client.get(path, Page[PlannedObject], cursor=cursor, limit=limit)


class RemoteSubmit:
    """Remote `SubmitService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(
        self,
        config: str,
        inputs: AsyncIterable[tuple[str, bytes]],
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        require_code: bool = False,
        changed_since: UUID | None = None,
        compare: Compare = "code",
        warn: Warn = no_warning,
    ) -> Execution:
        """Stream the inputs to the server, which starts the run once it has stored all of them."""
        fields = [("tags", tag) for tag in tags]
        if version is not None:
            fields.append(("config_version", str(version)))
        if changed_since is not None:
            fields += [("changed_since", str(changed_since)), ("compare", compare)]
        upload = Upload(fields, inputs)
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
            query=_only_if(require_code),
            warn=warn,
        )


def _body(request: ReplayRequest) -> dict[str, object]:
    """Return the body of a request. Fields without a value are left out, so that older servers accept it."""
    given = {
        "plan_id": request.plan_id,
        "from_execution_id": request.from_execution_id,
        "from_stage": request.from_stage,
        "from_path": request.from_path,
        "to_route": request.to_route,
        "config_version": request.config_version,
        "effects": request.effects,
        **(asdict(request.selection) if request.selection else {}),
    }
    if request.plan_id:  # what the request leaves to the plan
        nothing = asdict(ReplayRequest.of_plan(request.plan_id)) | {"plan_id": None}
        given = {name: value for name, value in given.items() if value != nothing.get(name)}
    return {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in given.items()
        if value is not None
    }


def _only_if(require_code: bool) -> dict[str, object]:
    return {"require_code": "true"} if require_code else {}
