-- Keys, sessions, logins, and the record of changes.

-- name: access
-- Whether servers need a key.
SELECT a.mode, a.epoch, EXISTS (SELECT 1 FROM keys) FROM access a

-- name: lock_access
-- The same, for a change.
SELECT a.mode, a.epoch, EXISTS (SELECT 1 FROM keys) FROM access a FOR UPDATE OF a

-- name: set_access
-- Change the mode, and let all processes drop what they have read.
UPDATE access SET mode = :mode, epoch = epoch + 1

-- name: other_servers
-- Live servers of another release. They may not ask for keys.
SELECT p.host, p.pid, p.version FROM processes p
WHERE p.kind = 'serve' AND p.version IS DISTINCT FROM :version AND p.heartbeat_at > playhead_now() - :seconds::float8

-- fragment: key_columns
-- What is shown of a key `k`.
k.id, k.name, k.kind, k.scopes, k.configs, k.created_at, k.created_by, k.expires_at, k.revoked_at, k.revoked_by,
k.replaces, k.last_used_at, k.last_used_from, playhead_now()

-- fragment: valid_key
-- The key `k` has neither expired nor been revoked.
k.revoked_at IS NULL AND coalesce(k.expires_at > playhead_now(), true)

-- name: keys
-- All keys.
SELECT {key_columns} FROM keys k ORDER BY k.created_at DESC, k.id

-- name: key_named
-- A key by its id.
SELECT {key_columns} FROM keys k WHERE k.id = :id

-- name: valid_keys_named
-- Valid keys with this name, except the one that is replaced.
SELECT k.id FROM keys k WHERE k.name = :name AND {valid_key} AND k.id IS DISTINCT FROM :replaces::text

-- name: insert_key_record
-- A new key.
INSERT INTO keys (id, name, kind, hash, scopes, configs, created_at, created_by, expires_at, replaces)
VALUES (:id, :name, :kind, :hash, :scopes, :configs, playhead_now(), :by, playhead_now() + :seconds::float8, :replaces)

-- name: key_to_check
-- The key with this hash.
SELECT k.id, k.name, k.scopes, k.configs, CASE WHEN k.revoked_at IS NOT NULL THEN 0 ELSE k.expires_at - playhead_now() END,
  k.expires_at IS NULL AND k.revoked_at IS NULL
FROM keys k WHERE k.hash = :hash

-- name: expire_key
-- Let a valid key end after a time, if it does not end before.
UPDATE keys AS k SET expires_at = CASE WHEN k.expires_at < playhead_now() + :overlap::float8 THEN k.expires_at
  ELSE playhead_now() + :overlap::float8 END
WHERE k.id = :id AND {valid_key}

-- name: revoke_key
-- End a key.
UPDATE keys SET revoked_at = playhead_now(), revoked_by = :by WHERE id = :id AND revoked_at IS NULL

-- name: note_use
-- When a key was used last.
UPDATE keys SET last_used_at = playhead_now(), last_used_from = :address WHERE id = :id

-- name: insert_session
-- A login.
INSERT INTO sessions (hash, id, key, subject, name, scopes, configs, created_at, seen_at, ends_at, address, browser)
VALUES (:hash, :id, :key, :subject, :name, :scopes, :configs, playhead_now(), playhead_now(), playhead_now() + :seconds::float8,
  :address, :browser)

-- fragment: open_session
-- The session `s` has not ended, and neither has its key.
s.ends_at > playhead_now() AND s.seen_at > playhead_now() - :idle::float8
AND (s.key IS NULL OR EXISTS (SELECT 1 FROM keys k WHERE k.id = s.key AND {valid_key}))

-- name: session_to_check
-- A session, with the rights of its key.
SELECT s.id, s.key, s.subject, s.name, coalesce((SELECT k.scopes FROM keys k WHERE k.id = s.key), s.scopes),
  CASE WHEN s.key IS NULL THEN s.configs ELSE (SELECT k.configs FROM keys k WHERE k.id = s.key) END,
  s.ends_at - playhead_now(), s.seen_at - playhead_now() + :idle::float8,
  (SELECT k.expires_at - playhead_now() FROM keys k WHERE k.id = s.key)
FROM sessions s WHERE s.hash = :hash AND {open_session}

-- name: note_sessions
-- When sessions were used last.
UPDATE sessions SET seen_at = playhead_now() WHERE hash = ANY(:hashes::bytea[])

-- name: open_sessions
-- Sessions that have not ended.
SELECT s.id, s.key, s.name, coalesce((SELECT k.scopes FROM keys k WHERE k.id = s.key), s.scopes),
  CASE WHEN s.key IS NULL THEN s.configs ELSE (SELECT k.configs FROM keys k WHERE k.id = s.key) END,
  s.created_at, s.seen_at, s.ends_at, s.address, s.browser
FROM sessions s WHERE {open_session} ORDER BY s.created_at DESC, s.id

-- name: delete_session
-- End a session.
DELETE FROM sessions WHERE hash = :hash

-- name: delete_session_named
-- End a session by its id.
DELETE FROM sessions WHERE id = :id

-- name: delete_sessions_of_key
-- End the sessions of a key.
DELETE FROM sessions WHERE key = :key

-- name: delete_ended_sessions
-- Drop sessions that have ended.
DELETE FROM sessions WHERE ends_at < playhead_now() OR seen_at < playhead_now() - :idle::float8

-- name: insert_login
-- A login that begins.
INSERT INTO logins (hash, state, nonce, verifier, next, created_at)
VALUES (:hash, :state, :nonce, :verifier, :next, playhead_now())

-- name: delete_old_logins
-- Drop logins that were not finished in time.
DELETE FROM logins WHERE created_at < playhead_now() - :seconds::float8

-- name: finish_login
-- Return a login, once.
DELETE FROM logins WHERE hash = :hash AND created_at >= playhead_now() - :seconds::float8
RETURNING state, nonce, verifier, next

-- name: execution_for_audit
-- What the audit says of an execution.
SELECT e.id, e.batch, c.name FROM executions e LEFT JOIN configs c ON c.n = e.config WHERE e.n = :execution

-- name: insert_audit
-- A change, or a refusal.
INSERT INTO audit (actor_kind, actor, actor_name, via, address, correlation_id, action, outcome, error_code, object,
  execution, batch, config, reason, detail)
VALUES (:kind, :actor, :name, :via, :address, :correlation, :action, :outcome, :code, :object, :execution::uuid,
  :batch::uuid, :config, :reason, :detail)

-- fragment: audit_columns
-- An entry `a`.
-- The columns that an `AuditEntry` is built from.
a.n, a.at, a.by_role, a.actor_kind, a.actor, a.actor_name, a.via, a.address, a.correlation_id, a.action, a.outcome,
a.error_code, a.object, a.execution, a.batch, a.config, a.reason, a.detail

-- fragment: of_audit
-- Conditions of a list of entries.
-- Entries that meet all conditions.
AND :actor::text IN (a.actor, a.actor_name) -- if given
AND a.action || '.' LIKE :action -- if given
AND a.outcome = :outcome -- if given
AND a.execution = :execution::uuid -- if given
AND a.batch = :batch::uuid -- if given
AND a.config = :config -- if given
AND a.object = :object -- if given
AND a.at >= :since::float8 -- if given
AND a.at < :until::float8 -- if given

-- name: newest_audit
-- Entries, newest first.
SELECT {audit_columns} FROM audit a WHERE true
AND a.n < :before::bigint -- if given
{of_audit}
ORDER BY a.n DESC LIMIT :limit

-- name: next_audit
-- Entries after a number, in their order.
SELECT {audit_columns} FROM audit a WHERE a.n > :after
{of_audit}
ORDER BY a.n LIMIT :limit
