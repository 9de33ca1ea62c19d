-- Results that are used again because an item has the same bytes. `reusing.py` has the order of the statements.

-- name: unindexed_executions
-- Settled executions among the newest runs and replays of a config whose results are not indexed, oldest first.
SELECT e.n, e.config_version FROM executions e WHERE e.n IN (
    SELECT x.n FROM executions x WHERE x.config = (SELECT c.n FROM configs c WHERE c.name = :config)
      AND x.kind <> 'publication' ORDER BY x.n DESC LIMIT :most)
  AND e.settled AND NOT e.indexed ORDER BY e.n

-- fragment: results_of
-- The closed messages of an execution in a lane and a state.
SELECT m.n, m.code, m.reads, m.object_key, m.stage, m.error_code FROM messages m /* INDEXED BY messages_by_state */
WHERE m.execution = :execution AND m.state = :state AND m.lane = :lane

-- name: results_to_index (postgresql)
-- A page of results, newest first.
{results_of} AND -m.n > -:before::bigint ORDER BY -m.n LIMIT :limit

-- name: results_to_index (sqlite)
-- SQLite's index ends with the number.
{results_of} AND m.n < :before ORDER BY m.n DESC LIMIT :limit

-- name: described
-- The parts of items that are compared.
SELECT key, sha256, content_type, attributes FROM outputs WHERE key = ANY(:keys::text[]) AND state = {STORED}

-- name: index_results
-- The newest message of each digest.
INSERT INTO reusable (digest, message) VALUES (:digest::bigint, :message::bigint)
ON CONFLICT (digest) DO UPDATE SET message = excluded.message WHERE excluded.message > reusable.message

-- name: set_indexed
-- All results of an execution are indexed, unless messages were resent meanwhile.
UPDATE executions SET indexed = true WHERE n = :n AND settled

-- name: forget_results
-- Messages that are deleted.
DELETE FROM reusable WHERE message = ANY(:messages::bigint[])

-- name: messages_with
-- Which messages have the digests.
SELECT digest, message FROM reusable WHERE digest = ANY(:digests::bigint[])

-- name: results_named
-- Rows by their numbers, with their items.
SELECT s.reads, s.stage, r.* FROM ({result} WHERE s.n = ANY(:rows::bigint[])) AS r JOIN messages s ON s.n = r.n

-- name: share_free_executions
-- Lock executions against a prune, except those that another transaction has locked: their results are not used.
SELECT n FROM executions WHERE n = ANY(:numbers::bigint[]) ORDER BY n FOR SHARE SKIP LOCKED

-- name: those_pruned
-- Those of these objects that were pruned.
SELECT key FROM outputs WHERE key = ANY(:keys::text[]) AND pruned_at IS NOT NULL

-- name: references_to
-- Executions that refer to objects. Their bytes exist as long as one of these is not pruned.
SELECT o.location, m.execution FROM outputs o JOIN messages m ON m.n = o.message
WHERE o.location = ANY(:keys::text[]) AND o.location IS NOT NULL AND o.state = {STORED} AND o.pruned_at IS NULL
