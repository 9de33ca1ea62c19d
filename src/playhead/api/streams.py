"""Event streams of the API, and their description."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from fastapi import Header
from fastapi.encoders import jsonable_encoder
from starlette.responses import Response

from playhead.api.answers import responses
from playhead.event_stream import event_stream
from playhead.services.watch import Watch

T = TypeVar("T")

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="Id of the last received event. An `EventSource` sends it when it reconnects.",
    ),
]


def stream(name: Literal["execution", "replay", "dataset"], watch: Watch[T], last: str | None) -> Response:
    """Return the stream of an execution, a replay or a dataset for one client."""
    return event_stream(name, watch, last, jsonable_encoder)


def stream_responses(
    name: str, model: type, *codes: str, is_endless: bool = False
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a stream.

    Args:
        name: name of the events except the last.
        model: type of their `data`. It must also be the operation's `response_model`, or it gets no schema.
        codes: error codes of responses that are sent instead of a stream.
        is_endless: no event is the last one.
    """
    event = {
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"type": "string", "enum": [name] if is_endless else [name, "end"]},
            "id": {"type": "string"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": f"#/components/schemas/{model.__name__}"},
            },
        },
    }
    until = "" if is_endless else "the last one, `end`, or until "
    ended = {"description": "`Last-Event-ID` is the id of `end`: no more events follow."}
    return {
        200: {
            "description": f"Events until {until}the server shuts down.",
            # Without `schema`, which for a stream describes the array of all items.
            "content": {"text/event-stream": {"itemSchema": event}},
        },
        **({} if is_endless else {204: ended}),
        **responses(*codes),
    }
