-- What follows from the end of a replay, and from other events of it: completion reports and webhooks.

-- name: replay_with_webhook
-- The replay of an execution and what it was asked for, if it has a webhook.
SELECT e.batch, e.revision, j.options, playhead_now() FROM jobs j JOIN executions e ON e.n = j.execution
WHERE j.execution = :execution AND j.webhook_revision IS NOT NULL

-- name: insert_delivery
-- An event for a webhook.
INSERT INTO deliveries (id, execution, revision, event, url, body, state, next_at)
VALUES (:id::uuid, :execution, :revision, :event, :url, :body, 'due', playhead_now())

-- name: record_end
-- Returns how an execution ended, unless its replay has no webhook, or this end is recorded.
UPDATE jobs SET webhook_revision = (SELECT revision FROM executions WHERE n = :execution)
WHERE execution = :execution AND webhook_revision < (SELECT revision FROM executions WHERE n = :execution)
RETURNING state, (SELECT status FROM executions WHERE n = :execution)
