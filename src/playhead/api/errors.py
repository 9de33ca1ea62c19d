"""The table of error codes: the meaning and the HTTP status of each.

This module imports nothing else of Playhead, so `playhead errors` starts fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A stable `error_code`.

    Attributes:
        code: value of `ErrorResponse.error_code`.
        status: status of the HTTP response.
        meaning: what is wrong, and if it helps, what to do.
    """

    code: str
    status: int
    meaning: str


ERRORS: Final[tuple[ErrorCode, ...]] = (
    ErrorCode("invalid_path", 400, "A path, stage or key breaks a rule for keys; the detail names it."),
    ErrorCode("route_ambiguous", 400, "More than one active config has this route; write config/route."),
    ErrorCode("id_ambiguous", 400, "Several ids end with these digits; the detail lists them."),
    ErrorCode("dataset_ambiguous", 400, "Several configs have this dataset; write config/dataset."),
    ErrorCode(
        "invalid_cursor", 400, "The cursor does not belong to this list; leave it out to get the first page."
    ),
    ErrorCode(
        "invalid_until",
        400,
        "The end of an acknowledgement is neither a version nor a time, or has passed.",
    ),
    ErrorCode("invalid_body", 400, "The body is not UTF-8, is nested too deeply, or cannot be read."),
    ErrorCode(
        "invalid_idempotency_key", 400, "The Idempotency-Key is not 1 to 255 visible ASCII characters."
    ),
    ErrorCode("config_invalid", 400, "The config has errors; `diagnostics` lists all of them."),
    ErrorCode("selection_empty", 400, "The selection matches nothing; select at least one item."),
    ErrorCode(
        "plan_mismatch", 400, "A field has another value than in the plan; leave it out, or make a new plan."
    ),
    ErrorCode(
        "webhook_not_allowed", 400, "The operator does not allow the URL of the webhook; the detail says why."
    ),
    ErrorCode(
        "not_comparable",
        400,
        "`changed_since` is not a run of the same config; or an execution to compare is adopted and has no "
        "records, or is a publication and has listed no objects. Name another one.",
    ),
    ErrorCode("invalid_request", 400, "The request is not valid HTTP/1.1, or its headers are too large."),
    ErrorCode(
        "key_missing",
        401,
        "This server needs a key: `Authorization: Bearer phk_…`, or `X-Playhead-Key`.",
    ),
    ErrorCode("key_invalid", 401, "The key is unknown, expired or revoked, or the request has several."),
    ErrorCode("session_ended", 401, "The session of the browser has ended; log in again."),
    ErrorCode("scope_missing", 403, "The caller is known, and lacks a scope; the detail names it."),
    ErrorCode("outside_limit", 403, "The key may only change certain configs; the detail names them."),
    ErrorCode("login_needs_https", 403, "Browsers log in over https only; set PLAYHEAD_PUBLIC_URL."),
    ErrorCode("read_only", 403, "This server allows no change (PLAYHEAD_READ_ONLY)."),
    ErrorCode("too_many_attempts", 429, "Too many wrong keys from this address; try again in a second."),
    ErrorCode(
        "proxy_header_invalid",
        400,
        "A header of the authenticating proxy is not as the proxy sends it; the proxy must replace it.",
    ),
    ErrorCode("login_refused", 401, "The provider refused the login, or the person has no rights here."),
    ErrorCode("host_not_allowed", 403, "The server does not accept this Host; set PLAYHEAD_ALLOWED_HOSTS."),
    ErrorCode("cross_origin", 403, "A web page of another origin sent the request; the server rejects it."),
    ErrorCode("not_found", 404, "The URL does not exist."),
    ErrorCode("execution_not_found", 404, "The execution is neither in the catalog nor in the store."),
    ErrorCode("stage_not_found", 404, "The execution has no such stage; the detail lists its stages."),
    ErrorCode(
        "route_not_found", 404, "Neither an active config nor the config of the source has this route."
    ),
    ErrorCode("no_objects", 404, "The path contains no object that can be replayed."),
    ErrorCode("config_not_found", 404, "No config has this name, or the config has no such version."),
    ErrorCode("dataset_not_found", 404, "No config has this dataset; the detail lists all datasets."),
    ErrorCode("publication_not_found", 404, "The dataset has no such publication that readers have seen."),
    ErrorCode("object_not_found", 404, "No object, or no sidecar, is stored under this key."),
    ErrorCode("message_not_found", 404, "No message has this correlation id."),
    ErrorCode(
        "replay_not_found", 404, "No replay batch has this id, or it is not a replay of the execution."
    ),
    ErrorCode("plan_not_found", 404, "No plan has this id, or it has expired and was deleted."),
    ErrorCode("report_not_found", 404, "The replay has no such report, or it is not stored yet."),
    ErrorCode("delivery_not_found", 404, "The webhook of the replay or dataset has no such delivery."),
    ErrorCode("dead_letter_not_found", 404, "No dead letter has this correlation id."),
    ErrorCode("cause_not_found", 404, "No cause of failures has this id."),
    ErrorCode("key_not_found", 404, "No valid key has this name or id."),
    ErrorCode("session_not_found", 404, "No session has this id, or it has ended."),
    ErrorCode("receipt_not_found", 404, "The receipt is unknown or has expired; take the messages again."),
    ErrorCode("index_not_found", 404, "No step has created a search index with this name yet."),
    ErrorCode("method_not_allowed", 405, "The URL does not support this method; `Allow` lists its methods."),
    ErrorCode("body_too_slow", 408, "The body arrived too slowly; send it again over a faster connection."),
    ErrorCode("route_external", 409, "Another program consumes the queue of the route; pause that program."),
    ErrorCode("config_inactive", 409, "The config is deactivated; activate it, or use another one."),
    ErrorCode(
        "code_differs",
        409,
        "Workers have outdated or different code, or a route has no worker; restart them, or start one.",
    ),
    ErrorCode(
        "code_unknown",
        409,
        "An adapter is not loaded where the request is answered, so code cannot be compared; load it there.",
    ),
    ErrorCode(
        "effects_refused",
        409,
        "The replay would repeat effects in routes with `refuse`, or its target has `skip`; the detail lists "
        "the routes.",
    ),
    ErrorCode(
        "plan_changed",
        409,
        "Objects of the plan are gone or have changed, so nothing was published; make a new plan.",
    ),
    ErrorCode(
        "plan_expired", 409, "The plan has expired, or its objects are not kept any more; make a new plan."
    ),
    ErrorCode(
        "preview_outdated",
        409,
        "What a page showed before you confirmed it would not happen any more; look again, and confirm.",
    ),
    ErrorCode("plan_not_ready", 409, "The plan is still being made, or has failed; the detail says why."),
    ErrorCode("too_many_objects", 409, "The plan has too many objects; select fewer of them."),
    ErrorCode(
        "idempotency_key_reused",
        409,
        "An earlier request with this Idempotency-Key had another body; use a new key for each request.",
    ),
    ErrorCode(
        "replay_ended", 409, "The state of the replay does not allow this; the detail has the next step."
    ),
    ErrorCode(
        "not_paused_by_canary",
        409,
        "Neither the canary nor `pause_if` of the replay has paused it; resume it without `canary`.",
    ),
    ErrorCode("execution_ended", 409, "The state of the ended execution does not allow this operation."),
    ErrorCode("stage_pruned", 409, "Objects of the stage were pruned, so it cannot be replayed."),
    ErrorCode(
        "execution_pruned", 409, "Objects of the execution were pruned, so the operation is not possible."
    ),
    ErrorCode("nothing_published", 409, "Readers of the dataset see nothing yet; publish a run."),
    ErrorCode(
        "publication_in_progress",
        409,
        "Another publication of the dataset is being prepared; wait for its end, or cancel it.",
    ),
    ErrorCode(
        "publication_moved",
        409,
        "Another publication became current meanwhile; look at the dataset, and publish again.",
    ),
    ErrorCode("publication_cancelled", 409, "The publication was cancelled while it was prepared."),
    ErrorCode("publication_empty", 409, "The publication would have no objects; the detail says what to do."),
    ErrorCode(
        "publication_incomplete",
        409,
        "Objects have no result in a route of the dataset; the detail has the replay that makes them.",
    ),
    ErrorCode(
        "publication_shrinks",
        409,
        "More inputs would be removed than `max_removed` allows; the detail says what to do.",
    ),
    ErrorCode("execution_running", 409, "The execution has not settled; wait for its end, or cancel it."),
    ErrorCode(
        "execution_changed", 409, "The execution has run again while it was published; publish it again."
    ),
    ErrorCode("not_a_base", 409, "The execution does not define the inputs of the dataset."),
    ErrorCode(
        "source_superseded",
        409,
        "Documents have changed since the replay; publish the others, or replay what is published.",
    ),
    ErrorCode("source_not_published", 409, "The source of the replay is not published; publish it first."),
    ErrorCode("older_results", 409, "The results are older than those that they would replace."),
    ErrorCode("units_failed", 409, "Documents failed, and the dataset refuses to publish then."),
    ErrorCode(
        "sink_rows_missing",
        409,
        "An index lacks rows of a publication; run the replay that the error names.",
    ),
    ErrorCode("sink_behind", 409, "An index lacks an earlier publication; rebuild it: playhead index check."),
    ErrorCode("key_name_taken", 409, "A valid key has this name; choose another one, or rotate that key."),
    ErrorCode("key_ambiguous", 409, "Several valid keys have this name; name one by its id."),
    ErrorCode(
        "older_process",
        409,
        "A live server of another release may not ask for keys; stop or update it first.",
    ),
    ErrorCode("path_conflict", 409, "Two results have the same path; change the step that names it."),
    ErrorCode(
        "queue_taken", 409, "Another active config uses a queue of this config; deactivate that config first."
    ),
    ErrorCode("records_deleted", 410, "The records of the execution were deleted; the detail has the time."),
    ErrorCode("publication_dropped", 410, "The publication is not kept any more; the detail has the time."),
    ErrorCode("object_pruned", 410, "The object was pruned; the detail has the time and its properties."),
    ErrorCode(
        "body_too_large", 413, "The request exceeds a limit of the server; the detail names the limit."
    ),
    ErrorCode("unsupported_media_type", 415, "The URL does not accept this Content-Type."),
    ErrorCode(
        "internal", 500, "A bug in Playhead; the server's log has the traceback under the correlation id."
    ),
    ErrorCode("store_unavailable", 503, "The store cannot be reached; try again later."),
    ErrorCode("broker_unavailable", 503, "The broker cannot be reached; try again later."),
    ErrorCode("catalog_unavailable", 503, "The catalog cannot be reached; try again later."),
    ErrorCode("login_unavailable", 503, "The provider of logins cannot be reached; try again later."),
    ErrorCode("catalog_damaged", 503, "The catalog's file is damaged; restore it from a backup."),
    ErrorCode("index_unavailable", 503, "A search index cannot be read; try again later."),
    ErrorCode("store_full", 503, "The store is full; free some space."),
    ErrorCode(
        "too_many_connections", 503, "The server has reached its limit of open connections; try again later."
    ),
    ErrorCode("server_busy", 503, "The request bodies in progress are too large in total; try again later."),
    ErrorCode(
        "replay_continues",
        503,
        "The server stopped waiting, but the replay continues; poll `Location`.",
    ),
)

STATUS: Final[dict[str, int]] = {error.code: error.status for error in ERRORS}
