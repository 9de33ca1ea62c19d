"""The one table of error codes: what each means and which HTTP status it has.

It imports nothing, so that `playhead errors` can print it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A stable `error_code`.

    Attributes:
        code: as it stands in `ErrorResponse.error_code`.
        status: of the HTTP response.
        meaning: what is wrong, and where it helps, what to do.
    """

    code: str
    status: int
    meaning: str


ERRORS: Final[tuple[ErrorCode, ...]] = (
    ErrorCode("invalid_path", 400, "A path, stage or key is outside the grammar of keys."),
    ErrorCode("route_ambiguous", 400, "More than one active config has that route; name it config/route."),
    ErrorCode("invalid_cursor", 400, "The cursor is not one of this list; leave it out to begin anew."),
    ErrorCode("invalid_body", 400, "The body is not UTF-8, is nested too deeply, or can't be read."),
    ErrorCode("config_invalid", 400, "The config has faults; `diagnostics` lists all of them."),
    ErrorCode("selection_empty", 400, "Nothing was selected; an empty selection never means all."),
    ErrorCode("invalid_request", 400, "What came is not HTTP/1.1, or its head is too large."),
    ErrorCode("host_not_allowed", 403, "The server does not answer to that Host; PLAYHEAD_ALLOWED_HOSTS."),
    ErrorCode("cross_origin", 403, "A page of another site may change nothing here."),
    ErrorCode("not_found", 404, "There is nothing at this URL."),
    ErrorCode("execution_not_found", 404, "Neither the catalog nor the store knows that execution."),
    ErrorCode("stage_not_found", 404, "The execution has no such stage; the detail lists those it has."),
    ErrorCode("route_not_found", 404, "No config that counts has that route."),
    ErrorCode("no_objects", 404, "There is nothing to replay at that path."),
    ErrorCode("config_not_found", 404, "There is no config, or no version of it, by that name."),
    ErrorCode("object_not_found", 404, "There is no stored object, or no sidecar, at that key."),
    ErrorCode("message_not_found", 404, "There is no message with that correlation id."),
    ErrorCode("replay_not_found", 404, "There is no replay batch with that id."),
    ErrorCode("dead_letter_not_found", 404, "There is no dead letter with that correlation id."),
    ErrorCode("receipt_not_found", 404, "Nothing is held under that receipt (any more)."),
    ErrorCode("index_not_found", 404, "No step has made a search index of that name yet."),
    ErrorCode("method_not_allowed", 405, "The URL does not have that method; `Allow` lists those it has."),
    ErrorCode("body_too_slow", 408, "The body arrived too slowly; send it again over a faster connection."),
    ErrorCode("config_inactive", 409, "The config is deactivated; activate it, or use another."),
    ErrorCode("execution_ended", 409, "The execution has ended in a way that does not allow this."),
    ErrorCode("queue_taken", 409, "Another active config holds one of the queues; deactivate it first."),
    ErrorCode("body_too_large", 413, "The request is over a limit of the server; the detail names it."),
    ErrorCode("unsupported_media_type", 415, "The Content-Type is not one that this URL reads."),
    ErrorCode("internal", 500, "A fault of ours; the server's log has it under the correlation id."),
    ErrorCode("store_unavailable", 503, "The store can't be reached; try again later."),
    ErrorCode("broker_unavailable", 503, "The broker can't be reached; try again later."),
    ErrorCode("catalog_unavailable", 503, "The catalog can't be reached; try again later."),
    ErrorCode("index_unavailable", 503, "A search index can't be read now; try again later."),
    ErrorCode("store_full", 503, "The store has no room left."),
    ErrorCode(
        "too_many_connections", 503, "The server has as many connections as it takes; try again later."
    ),
    ErrorCode("server_busy", 503, "The server holds as many bytes of requests as it may; try again later."),
    ErrorCode("replay_continues", 503, "The wait is over, the replay is not; look at `Location`."),
)

STATUS: Final[dict[str, int]] = {error.code: error.status for error in ERRORS}
