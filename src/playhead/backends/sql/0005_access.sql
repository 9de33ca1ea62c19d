-- runs from: 5
-- Who may do what, and who did what. See docs/howto/security.md.

-- Whether servers need a key, in one row. `epoch` grows with each revocation, so that processes drop what they have read.
CREATE TABLE access (
  mode  text COLLATE "C" NOT NULL DEFAULT 'open',   -- open or required
  epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO access (epoch) VALUES (0);

-- Keys, without their secrets. No row is deleted, because the audit names them.
CREATE TABLE keys (
  id             text COLLATE "C" PRIMARY KEY,      -- public id
  name           text COLLATE "C" NOT NULL,
  kind           text COLLATE "C" NOT NULL,         -- as in model.KeyKind
  hash           bytea NOT NULL UNIQUE,             -- SHA-256 of the whole key
  scopes         text NOT NULL,                     -- JSON
  configs        text,                              -- JSON; NULL: no limit
  created_at     double precision NOT NULL,
  created_by     text NOT NULL,
  expires_at     double precision,
  revoked_at     double precision,
  revoked_by     text,
  replaces       text COLLATE "C",
  last_used_at   double precision,
  last_used_from text
);
CREATE INDEX keys_by_name ON keys (name);

-- Sessions of browsers. The cookie is stored nowhere.
CREATE TABLE sessions (
  hash       bytea PRIMARY KEY,                     -- SHA-256 of the cookie
  id         text COLLATE "C" NOT NULL UNIQUE,      -- public id
  key        text COLLATE "C",                      -- keys.id; NULL: OIDC
  subject    text NOT NULL,                         -- of OIDC: issuer and subject; else keys.id
  name       text NOT NULL,
  scopes     text NOT NULL,                         -- JSON; of OIDC
  configs    text,                                  -- JSON; of OIDC
  created_at double precision NOT NULL,
  seen_at    double precision NOT NULL,
  ends_at    double precision NOT NULL,
  address    text,
  browser    text
);
CREATE INDEX sessions_by_key ON sessions (key) WHERE key IS NOT NULL;

-- Logins with OIDC that have begun, under the hash of a cookie. Any server finishes them.
CREATE TABLE logins (
  hash       bytea PRIMARY KEY,
  state      text NOT NULL,
  nonce      text NOT NULL,
  verifier   text NOT NULL,
  next       text NOT NULL,
  created_at double precision NOT NULL
);

-- What was changed, and what was refused. Rows are only added.
CREATE TABLE audit (
  n              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at             double precision NOT NULL DEFAULT (playhead_now()),
  by_role        text,                              -- role of the connection; NULL on SQLite
  actor_kind     text COLLATE "C" NOT NULL,
  actor          text COLLATE "C" NOT NULL,
  actor_name     text NOT NULL,
  via            text COLLATE "C" NOT NULL,
  address        text,
  correlation_id text COLLATE "C",
  action         text COLLATE "C" NOT NULL,
  outcome        text COLLATE "C" NOT NULL,
  error_code     text COLLATE "C",
  object         text,
  execution      uuid,
  batch          uuid,
  config         text COLLATE "C",
  reason         text,
  detail         text                               -- JSON of at most 4 KiB
);
CREATE INDEX audit_by_execution ON audit (execution, n) WHERE execution IS NOT NULL;
CREATE INDEX audit_by_batch ON audit (batch, n) WHERE batch IS NOT NULL;
CREATE INDEX audit_by_object ON audit (object, n) WHERE object IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (actor_name, n);

-- (postgresql)
ALTER TABLE audit ALTER COLUMN by_role SET DEFAULT session_user;
-- (postgresql)
CREATE FUNCTION playhead_audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rows of the audit are not changed or deleted'; END $$;
-- (postgresql)
CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit
  FOR EACH ROW EXECUTE FUNCTION playhead_audit_is_kept();
-- TRUNCATE passes triggers for rows.
-- (postgresql)
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION playhead_audit_is_kept();
-- (sqlite)
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'rows of the audit are not changed'); END;
-- INSERT OR REPLACE deletes a row without the trigger for DELETE, unless a connection asks for recursive triggers.
-- (sqlite)
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit a WHERE a.n = NEW.n)
BEGIN SELECT RAISE(ABORT, 'rows of the audit are not replaced'); END;
-- (sqlite)
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'rows of the audit are not deleted'); END;

-- In PostgreSQL, a row lock needs the right to update a column. Workers lock routes, and may change nothing else of them.
ALTER TABLE lanes ADD COLUMN row_lock smallint;

-- The role of the database that a process has; NULL on SQLite.
ALTER TABLE processes ADD COLUMN by_role text;
-- (postgresql)
ALTER TABLE processes ALTER COLUMN by_role SET DEFAULT session_user;

-- The caller that requested a run or a replay, as JSON of model.RequestedBy; NULL: a process, or not recorded.
ALTER TABLE executions ADD COLUMN requested_by text;
