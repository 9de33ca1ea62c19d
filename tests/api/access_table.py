"""The scope of each operation of the API, and of each page and form of the web UI.

The table is written by hand: it is what was decided, and the code is compared with it. `any` needs a valid
caller, `public` needs none. A twin (`.json`, `.live`) has the scope of its page.
"""

from __future__ import annotations

from typing import Final

from playhead.model.access import Need

OPERATIONS: Final[dict[Need, str]] = {
    "public": """
        GET /healthz
        GET /readyz
    """,
    "any": """
        GET /api/v1/errors
        GET /api/v1/executions
        GET /api/v1/executions/{execution_id}
        GET /api/v1/executions/{execution_id}/events
        GET /api/v1/executions/{execution_id}/replays
        GET /api/v1/executions/{execution_id}/routes
        GET /api/v1/executions/{execution_id}/totals
        GET /api/v1/me
        GET /api/v1/replays
        GET /api/v1/replays/{replay_batch_id}
        GET /api/v1/replays/{replay_batch_id}/events
        GET /api/v1/system/health
        GET /docs
    """,
    "metrics": """
        GET /metrics
    """,
    "read": """
        GET /api/v1/adapters
        GET /api/v1/affected
        GET /api/v1/causes
        GET /api/v1/causes/{cause}
        GET /api/v1/causes/{cause}/objects
        GET /api/v1/configs
        GET /api/v1/configs/{name}
        GET /api/v1/configs/{name}/dag
        GET /api/v1/configs/{name}/versions
        GET /api/v1/configs/{name}/versions/{version}
        GET /api/v1/datasets
        GET /api/v1/datasets/{name}
        GET /api/v1/datasets/{name}/changes
        GET /api/v1/datasets/{name}/code
        GET /api/v1/datasets/{name}/content/{stage}/{path:path}
        GET /api/v1/datasets/{name}/deliveries
        GET /api/v1/datasets/{name}/events
        GET /api/v1/datasets/{name}/notes
        GET /api/v1/datasets/{name}/objects
        GET /api/v1/datasets/{name}/publications
        GET /api/v1/datasets/{name}/publications/{n}
        GET /api/v1/datasets/{name}/stale
        GET /api/v1/datasets/{name}/switches
        GET /api/v1/dead-letters
        GET /api/v1/dead-letters/groups
        GET /api/v1/dead-letters/resend
        GET /api/v1/dead-letters/{correlation_id}
        GET /api/v1/executions/{execution_id}/code
        GET /api/v1/executions/{execution_id}/dag
        GET /api/v1/executions/{execution_id}/diff/{other_execution_id}
        GET /api/v1/executions/{execution_id}/diff/{other_execution_id}/objects
        GET /api/v1/executions/{execution_id}/lineage
        GET /api/v1/executions/{execution_id}/result/{other_execution_id}
        GET /api/v1/executions/{execution_id}/result/{other_execution_id}/groups
        GET /api/v1/executions/{execution_id}/result/{other_execution_id}/objects
        GET /api/v1/executions/{execution_id}/stages
        GET /api/v1/executions/{execution_id}/why
        GET /api/v1/find
        GET /api/v1/lineage
        GET /api/v1/lineage/batch/{replay_batch_id}
        GET /api/v1/lineage/chain
        GET /api/v1/lineage/chain/summary
        GET /api/v1/lineage/counts
        GET /api/v1/lineage/{correlation_id}
        GET /api/v1/lineage/{correlation_id}/chain
        GET /api/v1/lineage/{correlation_id}/chain/summary
        GET /api/v1/lineage/{correlation_id}/counts
        GET /api/v1/queues/{queue}/messages
        GET /api/v1/replay/plans
        GET /api/v1/replay/plans/{plan_id}
        GET /api/v1/replay/plans/{plan_id}/objects
        GET /api/v1/replays/{replay_batch_id}/deliveries
        GET /api/v1/replays/{replay_batch_id}/report
        GET /api/v1/replays/{replay_batch_id}/report/lines
        GET /api/v1/routes
        GET /api/v1/search
        GET /api/v1/storage/objects
        GET /api/v1/storage/objects/content
        GET /api/v1/storage/objects/metadata
        GET /api/v1/storage/objects/versions
        GET /api/v1/workers
    """,
    "run": """
        POST /api/v1/configs/{name}/run
    """,
    "replay": """
        POST /api/v1/causes/{cause}/plan
        POST /api/v1/replay
        POST /api/v1/replay/plan
    """,
    "operate": """
        POST /api/v1/causes/{cause}/acknowledge
        POST /api/v1/causes/{cause}/unacknowledge
        POST /api/v1/configs/{name}/deactivate
        POST /api/v1/datasets/{name}/deliveries/{delivery_id}/send
        POST /api/v1/datasets/{name}/forget
        POST /api/v1/datasets/{name}/index/check
        POST /api/v1/datasets/{name}/publications
        POST /api/v1/datasets/{name}/publications/{n}/cancel
        POST /api/v1/datasets/{name}/publications/{n}/pin
        POST /api/v1/datasets/{name}/release
        POST /api/v1/datasets/{name}/rollback
        POST /api/v1/dead-letters/resend
        POST /api/v1/dead-letters/resend/plan
        POST /api/v1/dead-letters/{correlation_id}/resend
        POST /api/v1/executions/{execution_id}/cancel
        POST /api/v1/executions/{execution_id}/pin
        POST /api/v1/replays/{replay_batch_id}/cancel
        POST /api/v1/replays/{replay_batch_id}/deliveries/{delivery_id}/send
        PUT /api/v1/replays/{replay_batch_id}/pace
        POST /api/v1/replays/{replay_batch_id}/pause
        POST /api/v1/replays/{replay_batch_id}/report/write
        POST /api/v1/replays/{replay_batch_id}/resume
        POST /api/v1/replays/{replay_batch_id}/retry
        POST /api/v1/routes/{config}/{route}/pause
        POST /api/v1/routes/{config}/{route}/resume
        POST /api/v1/system/doctor
    """,
    "apply": """
        POST /api/v1/configs
        POST /api/v1/configs/validate
        POST /api/v1/configs/{name}/activate
    """,
    "prune": """
        POST /api/v1/datasets/{name}/publications/{n}/unpin
        POST /api/v1/executions/{execution_id}/unpin
        POST /api/v1/prune
    """,
    "take": """
        POST /api/v1/queues/{queue}/remove
        POST /api/v1/queues/{queue}/take
    """,
    "admin": """
        GET /api/v1/audit
        GET /api/v1/keys
        POST /api/v1/keys
        POST /api/v1/keys/{name}/revoke
        POST /api/v1/keys/{name}/rotate
        GET /api/v1/sessions
        POST /api/v1/sessions/{session}/revoke
    """,
}

PAGES: Final[dict[Need, str]] = {
    "public": """
        GET /login
        GET /login/oidc
        GET /login/oidc/callback
        POST /login
        POST /logout
    """,
    "any": """
        GET /help
    """,
    "read": """
        GET /
        GET /affected
        GET /causes
        GET /causes/{id}
        GET /configs
        GET /configs/{name}
        GET /datasets
        GET /datasets/{name}
        GET /datasets/{name}/{n}
        GET /dead-letters
        GET /dead-letters/{id}
        GET /executions
        GET /executions/{execution_id}
        GET /executions/{execution_id}/compare
        GET /executions/{execution_id}/result
        GET /find
        GET /lineage/{correlation_id}
        GET /objects
        GET /objects/raw
        GET /queues
        GET /queues/{queue}
        GET /replays
        GET /replays/{batch}
        GET /system
        GET /why
    """,
    "run": """
        GET /run
        POST /run
    """,
    "replay": """
        POST /causes/{id}/plan
        POST /causes/{id}/replay
        GET /replay
        POST /replay
    """,
    "operate": """
        POST /causes/{id}/acknowledge
        POST /causes/{id}/unacknowledge
        POST /datasets/{name}/cancel
        POST /datasets/{name}/check
        POST /datasets/{name}/forget
        GET /datasets/{name}/publish
        POST /datasets/{name}/publish
        POST /datasets/{name}/release
        GET /datasets/{name}/rollback
        POST /datasets/{name}/rollback
        POST /datasets/{name}/send
        POST /datasets/{name}/{n}/pin
        POST /dead-letters/resend
        POST /dead-letters/resend/plan
        POST /dead-letters/{id}/resend
        POST /executions/{execution_id}/cancel
        POST /executions/{execution_id}/pin
        POST /executions/{execution_id}/result/review
        POST /queues/{queue}/pause
        POST /queues/{queue}/resume
        POST /replays/{batch}/cancel
        POST /replays/{batch}/pace
        POST /replays/{batch}/pause
        POST /replays/{batch}/report
        POST /replays/{batch}/resume
        POST /replays/{batch}/retry
        POST /replays/{batch}/send
        POST /replays/{batch}/withdraw
        POST /system
    """,
    "apply": """
        GET /apply
        POST /apply
    """,
    "prune": """
        POST /datasets/{name}/{n}/unpin
        POST /executions/{execution_id}/unpin
        GET /prune
        POST /prune
    """,
    "admin": """
        GET /access
        GET /audit
        POST /access
        POST /access/end
        POST /access/revoke
        POST /access/rotate
    """,
}


def rows(table: dict[Need, str]) -> dict[str, Need]:
    """Return the scope of each `METHOD PATH`."""
    return {line.strip(): scope for scope, lines in table.items() for line in lines.strip().splitlines()}
