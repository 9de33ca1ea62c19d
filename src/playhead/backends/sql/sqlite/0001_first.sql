-- The embedded catalog and broker. Ids are UUIDv7 and arrive in order, so inserts append to every index, and
-- their cost does not grow with the tables. Each id has a unique index of its own next to the rowid.

CREATE TABLE configs (
  n          INTEGER PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  active     INTEGER NOT NULL,
  created_at REAL NOT NULL
);

CREATE TABLE config_versions (
  id         INTEGER PRIMARY KEY,
  name       TEXT NOT NULL REFERENCES configs (name),
  version    INTEGER NOT NULL,
  hash       TEXT NOT NULL,
  source     TEXT NOT NULL,
  document   TEXT NOT NULL,           -- model.Config as JSON
  created_at REAL NOT NULL,
  UNIQUE (name, version)
);

-- A route of a config version. Message rows refer to it instead of repeating names.
CREATE TABLE lanes (
  id             INTEGER PRIMARY KEY,
  config_version INTEGER NOT NULL REFERENCES config_versions (id),
  route          TEXT NOT NULL,
  queue          TEXT NOT NULL,
  stage          TEXT,
  external       INTEGER NOT NULL,
  max_attempts   INTEGER NOT NULL,
  feeds          TEXT NOT NULL,       -- JSON: the route names of `to`, in order
  UNIQUE (config_version, route)
);

CREATE TABLE executions (
  n              INTEGER PRIMARY KEY,
  id             BLOB NOT NULL UNIQUE,
  kind           TEXT NOT NULL,
  status         TEXT NOT NULL,
  settled        INTEGER NOT NULL DEFAULT 0,  -- ended, and no message row is open
  config_version INTEGER REFERENCES config_versions (id),
  parent         BLOB,
  batch          BLOB UNIQUE,
  revision       INTEGER NOT NULL DEFAULT 0,
  created_at     REAL NOT NULL,
  ended_at       REAL,
  counts         TEXT,                -- JSON: [lane, state, number of rows], …; stored when it settles
  traceparent    TEXT                 -- W3C Trace Context of the request that created it; NULL without tracing
);
CREATE INDEX executions_unsettled ON executions (n) WHERE NOT settled;
CREATE INDEX executions_running ON executions (config_version) WHERE NOT settled AND status = 'running';
CREATE INDEX executions_parent ON executions (parent) WHERE parent IS NOT NULL;

CREATE TABLE tags (
  tag       TEXT NOT NULL,
  execution INTEGER NOT NULL REFERENCES executions (n),
  PRIMARY KEY (tag, execution)
) WITHOUT ROWID;
CREATE INDEX tags_execution ON tags (execution);

-- The job of an execution: it lists a stage and publishes a dispatch for each object.
CREATE TABLE jobs (
  execution      INTEGER PRIMARY KEY REFERENCES executions (n),
  source         BLOB NOT NULL,
  stage          TEXT NOT NULL,
  path           TEXT,
  prefix         TEXT NOT NULL,
  to_route       TEXT NOT NULL,
  lane           INTEGER NOT NULL REFERENCES lanes (id),
  state          TEXT NOT NULL,       -- uploading, then as in model.ReplayState
  listing_state  TEXT NOT NULL DEFAULT 'open',  -- open, completed, dead, cancelled
  epoch          INTEGER NOT NULL DEFAULT 0,
  owner          TEXT,
  lease_until    REAL NOT NULL DEFAULT 0,
  idle_takeovers INTEGER NOT NULL DEFAULT 0,
  cursor         TEXT NOT NULL DEFAULT '',
  ordinals       INTEGER NOT NULL DEFAULT 0,    -- rows recorded
  watermark      INTEGER NOT NULL DEFAULT 0,    -- rows up to this ordinal are published, except those that say otherwise
  ended_at       REAL,
  error_code     TEXT,
  error          TEXT
);
CREATE INDEX jobs_open ON jobs (execution) WHERE state IN ('uploading', 'publishing');
CREATE INDEX jobs_source ON jobs (source);

CREATE TABLE messages (
  n          INTEGER PRIMARY KEY,
  id         BLOB NOT NULL UNIQUE,    -- correlation id
  execution  INTEGER NOT NULL REFERENCES executions (n),
  lane       INTEGER NOT NULL REFERENCES lanes (id),
  object_key TEXT NOT NULL,
  stage      TEXT NOT NULL,           -- of the object; the rest of the key is its path
  ordinal    INTEGER,                 -- place in its job's listing; NULL for children
  state      INTEGER NOT NULL DEFAULT {PENDING},  -- index into model.ROW_STATES
  published  INTEGER,                 -- yes, no or uncertain; NULL: the job's watermark decides
  attempt    INTEGER NOT NULL DEFAULT 0,
  uncounted_attempts   INTEGER NOT NULL DEFAULT 0,  -- attempts that do not count towards max_attempts
  consecutive_crashes  INTEGER NOT NULL DEFAULT 0,  -- latest attempts, in a row, in which the worker died
  generation INTEGER NOT NULL DEFAULT 0,
  parent     INTEGER REFERENCES messages (n),
  publisher  TEXT,
  worker     TEXT,
  not_before REAL,
  started_at REAL,
  ended_at   REAL,
  error_code TEXT,
  error      TEXT,                    -- of a skipped row: why it was skipped
  traceback  TEXT
);
CREATE INDEX messages_by_state ON messages (execution, state, lane);
CREATE INDEX messages_by_ordinal ON messages (execution, ordinal) WHERE ordinal IS NOT NULL;
CREATE INDEX messages_children ON messages (parent) WHERE parent IS NOT NULL;
CREATE INDEX messages_roots_by_key ON messages (object_key) WHERE parent IS NULL;
CREATE INDEX messages_unpublished ON messages (n) WHERE published = {UNPUBLISHED} AND state = {PENDING};
CREATE INDEX messages_due ON messages (not_before) WHERE published = {UNPUBLISHED} AND state = {RETRY};
CREATE INDEX messages_running ON messages (worker) WHERE state = {RUNNING};
CREATE INDEX messages_uncertain ON messages (execution) WHERE published = {UNCERTAIN};
CREATE INDEX messages_dead ON messages (lane) WHERE state = {DEAD};
CREATE INDEX messages_refused ON messages (-execution)
  WHERE state = {DEAD} AND ordinal IS NOT NULL AND error_code IN ('publish_refused', 'invalid_key');

CREATE TABLE outputs (
  n            INTEGER PRIMARY KEY,
  key          TEXT NOT NULL UNIQUE,
  message      INTEGER,               -- NULL for inputs
  attempt      INTEGER,
  state        INTEGER NOT NULL DEFAULT {WRITING},  -- writing, stored or superseded
  size         INTEGER NOT NULL,
  sha256       BLOB NOT NULL,
  fingerprint  BLOB NOT NULL,
  content_type TEXT NOT NULL,
  attributes   TEXT NOT NULL,
  created_at   REAL NOT NULL
);
CREATE INDEX outputs_by_message ON outputs (message) WHERE message IS NOT NULL;
CREATE INDEX outputs_unstored ON outputs (key) WHERE state <> {STORED};

CREATE TABLE processes (
  id           TEXT PRIMARY KEY,
  kind         TEXT NOT NULL,
  host         TEXT NOT NULL,
  pid          INTEGER NOT NULL,
  queues       TEXT NOT NULL,
  started_at   REAL NOT NULL,
  heartbeat_at REAL NOT NULL,
  counters     TEXT                   -- JSON (counters.py), as of the last heartbeat
);
-- The sum of the counters of processes that have ended, in one row.
CREATE TABLE departed (counters TEXT NOT NULL);
INSERT INTO departed VALUES ('[]');

CREATE TABLE leases (
  name  TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  until REAL NOT NULL
);

-- The broker.
CREATE TABLE queues (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

CREATE TABLE dispatches (
  n          INTEGER PRIMARY KEY,
  queue      INTEGER NOT NULL REFERENCES queues (id),
  visible_at REAL NOT NULL DEFAULT 0, -- 0: ready; otherwise held until then
  tag        INTEGER NOT NULL DEFAULT 0,
  message_id TEXT NOT NULL,
  headers    TEXT NOT NULL,
  payload    TEXT NOT NULL
);
CREATE INDEX dispatches_visible ON dispatches (queue, visible_at);
