-- What a run takes over from an earlier one. `takeover.py` has the order of the statements. Rows are found by one indexed
-- column, and joined in Python: with joins, PostgreSQL's planner, whose statistics are late, may read whole tables for
-- each page.

-- name: set_plan
-- The run whose results are taken over, and what may be taken over.
UPDATE jobs SET since = :since::uuid, takeover = :plan WHERE execution = :execution

-- name: plan_of
-- What an execution may take over; NULL: nothing.
SELECT since, takeover FROM jobs WHERE execution = :execution

-- name: earlier_execution
-- An execution whose results may be taken over: its number and version, whose objects it has received, and into which route.
SELECT e.n, e.config_version, j.source, l.route FROM executions e JOIN jobs j ON j.execution = e.n JOIN lanes l ON l.id = j.lane
WHERE e.id = :id::uuid

-- name: declarations_of
-- Declarations that were not undone, by the executions of their replays, the newest first: with the publication whose results
-- are declared valid, and whether the replay is listed.
SELECT d.execution, d.dataset, d.publication, j.listing_state FROM declarations d JOIN executions e ON e.n = d.execution
JOIN jobs j ON j.execution = d.execution WHERE e.id = ANY(:ids::uuid[]) AND d.undone_at IS NULL ORDER BY d.execution DESC

-- name: fingerprints_of
-- The fingerprints of objects.
SELECT key, fingerprint FROM outputs WHERE key = ANY(:keys::text[])

-- name: published_messages
-- Which messages have the results of a publication at these places. If it is dropped, those that no kept publication has
-- may be gone. What a result has received is in each publication that has the result, so it is not gone before.
WITH given (stage, path) AS (SELECT * FROM unnest(:stages::text[], :paths::text[]))
SELECT p.stage, p.path, p.message FROM given g CROSS JOIN published p
WHERE p.stage = g.stage AND p.path = g.path AND p.dataset = :dataset AND p.first <= :n AND (p.last IS NULL OR p.last > :n)
  AND p.message IS NOT NULL

-- name: count_inputs_and_outputs
-- How many inputs an execution has, and how many inputs and outputs are below its prefix.
SELECT (SELECT count(*) FROM outputs o WHERE o.key > :first_input AND o.key < :last_input),
  (SELECT count(*) FROM outputs o WHERE o.key > :first AND o.key < :last)

-- name: contents_of
-- What the objects contain that can be referred to.
SELECT key, size, sha256, stamp FROM outputs WHERE key = ANY(:keys::text[]) AND state = {STORED} AND pruned_at IS NULL

-- name: refer_inputs
-- References of an execution to inputs of another one. Returns the keys that were free. A key begins with the 36 characters
-- of an id.
INSERT INTO outputs (key, state, size, sha256, fingerprint, content_type, attributes, created_at, location, stamp)
SELECT :identity::text || substr(o.key, 37), {WRITING}, o.size, o.sha256, o.fingerprint, o.content_type, o.attributes,
  o.created_at, coalesce(o.location, o.key), o.stamp
FROM outputs o WHERE o.key = ANY(:keys::text[]) AND o.state = {STORED} AND o.pruned_at IS NULL ORDER BY o.key
ON CONFLICT (key) DO NOTHING RETURNING key

-- name: set_stamps
-- Files that have changed since the earlier run has read the same bytes.
WITH given (key, stamp) AS (SELECT * FROM unnest(:keys::text[], :stamps::text[]))
UPDATE outputs AS o SET stamp = g.stamp FROM given g WHERE o.key = g.key

-- name: referred_between
-- References from one key to another one.
SELECT key FROM outputs /* INDEXED BY outputs_references */ WHERE location IS NOT NULL AND key >= :first AND key <= :last

-- name: outputs_of
-- Outputs of messages that can be referred to.
SELECT n, message, key, attempt, size, sha256, fingerprint, content_type, attributes, created_at,
  coalesce(location, key)
FROM outputs WHERE message = ANY(:rows::bigint[]) AND state = {STORED}

-- name: refer
-- Returns the keys that were free.
INSERT INTO outputs (key, message, attempt, state, size, sha256, fingerprint, content_type, attributes, created_at,
  location)
VALUES (:key::text, :message::bigint, :attempt::int, :state::smallint, :size::bigint, :sha256::bytea,
  :fingerprint::bytea, :content_type::text, :attributes::text, :created_at::float8, :location::text)
ON CONFLICT (key) DO NOTHING RETURNING key

-- name: count_outputs_of
-- How many outputs of messages can be referred to.
SELECT count(*) FROM outputs WHERE message = ANY(:rows::bigint[]) AND state = {STORED}

-- fragment: copied
-- The columns of references to the outputs `o` of messages.
INSERT INTO outputs (key, message, attempt, state, size, sha256, fingerprint, content_type, attributes, created_at,
  location)
WITH given (source, message) AS (SELECT * FROM unnest(:sources::bigint[], :rows::bigint[]))
SELECT :identity::text || substr(o.key, 37), g.message, o.attempt, o.state, o.size, o.sha256, o.fingerprint, o.content_type,
  o.attributes, o.created_at, coalesce(o.location, o.key)

-- name: copy_outputs (sqlite)
-- References of new messages to the outputs of earlier ones, where the keys are free.
{copied}
FROM given g CROSS JOIN outputs o ON o.message = g.source AND o.state = {STORED} WHERE true ON CONFLICT (key) DO NOTHING

-- name: copy_outputs (postgresql)
-- The same. OFFSET keeps the planner from joins that read all outputs. In the order of the keys, so that two transactions that
-- insert the same ones never deadlock.
{copied}
FROM given g CROSS JOIN LATERAL (SELECT p.* FROM outputs p WHERE p.message = g.source AND p.state = {STORED} OFFSET 0) o
ORDER BY 1 ON CONFLICT (key) DO NOTHING

-- name: delete_references
-- Outputs of rows that are processed after all.
DELETE FROM outputs WHERE message = ANY(:rows::bigint[])

-- fragment: result
-- What a row may get from the row `s` of an earlier run. A copy of a copy names the message that was processed.
SELECT s.execution, s.parent, s.object_key, s.n, s.lane, s.state, s.code, s.error_code, s.error,
  coalesce(s.original, s.n) AS original, coalesce(s.result, s.n) AS result, s.declaration
FROM messages s

-- name: roots_of
-- Roots of executions by their objects. The sum keeps the planner from an index of executions, with which it would read
-- all messages of one.
{result} WHERE s.object_key = ANY(:keys::text[]) AND s.parent IS NULL AND s.execution + 0 = ANY(:executions::bigint[])

-- name: children_of
-- All children of messages. No index has their keys too: which child has the same key as another is found in Python,
-- because one message may have 100,000 children, and a join would compare each with each.
{result} WHERE s.parent = ANY(:parents::bigint[])

-- name: numbers_of
-- The numbers of messages.
SELECT id, n FROM messages WHERE id = ANY(:ids::uuid[])

-- name: close_taken_over
-- Rows that have the result of an earlier run.
WITH given (n, code, error_code, error, original, result, declaration) AS (
  SELECT * FROM unnest(:rows::bigint[], :codes::bigint[], :error_codes::text[], :errors::text[], :originals::bigint[],
    :results::bigint[], :declarations::bigint[])
)
UPDATE messages AS m SET state = {TAKEN_OVER}, published = {PUBLISHED}, ended_at = playhead_now(), code = g.code,
  error_code = g.error_code, error = g.error, original = g.original, result = g.result, declaration = g.declaration
FROM given g WHERE m.n = g.n

-- name: insert_taken_over
-- Children that have the result of an earlier message from the start. Returns their numbers.
INSERT INTO messages (id, execution, lane, object_key, stage, state, published, parent, ended_at, code, error_code, error,
  original, result, declaration)
VALUES (:id::uuid, :execution::bigint, :lane::bigint, :key::text, :stage::text, {TAKEN_OVER}, {PUBLISHED}, :parent::bigint,
  playhead_now(), :code::bigint, :error_code::text, :error::text, :original::bigint,
  :result::bigint, :declaration::bigint) RETURNING n, id

-- name: insert_whole
-- Inputs that are unchanged with all that is below them. Returns their numbers.
INSERT INTO messages (id, execution, lane, object_key, stage, ordinal, state, published, ended_at, code, error_code, error,
  original, result, whole)
VALUES (:id::uuid, :execution::bigint, :lane::bigint, :key::text, :stage::text, :ordinal::bigint, {TAKEN_OVER}, {PUBLISHED},
  playhead_now(), :code::bigint, :error_code::text, :error::text, :original::bigint, :result::bigint,
  :whole::bigint) RETURNING n, id

-- name: mark_whole
-- Roots that have the result of an execution, and whose rows below have its results too.
WITH given (n, execution) AS (SELECT * FROM unnest(:rows::bigint[], :executions::bigint[]))
UPDATE messages AS m SET whole = g.execution FROM given g WHERE m.n = g.n

-- name: process_after_all
-- Children whose outputs another message has bound.
UPDATE messages SET state = {PENDING}, published = {UNPUBLISHED}, publisher = :publisher, ended_at = NULL, code = NULL,
  error_code = NULL, error = NULL, original = NULL, result = NULL, declaration = NULL
WHERE n = ANY(:rows::bigint[])

-- name: stored_references
-- References under a key or below it. In bytes, `{prefix}/` and `{prefix}0` enclose the keys below; others may be between
-- the prefix and the first.
SELECT key, location, size, created_at FROM outputs /* INDEXED BY outputs_references */
WHERE location IS NOT NULL AND state = {STORED} AND pruned_at IS NULL
  AND key >= :prefix AND key < :last AND key > :after AND (key = :prefix OR key > :first) ORDER BY key LIMIT :limit
