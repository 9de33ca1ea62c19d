-- Configs, their versions and lanes.

-- fragment: version
-- The columns that a config version is built from.
SELECT v.id, v.name, v.version, v.hash, c.active, v.created_at, v.source, v.document
FROM config_versions v JOIN configs c ON c.name = v.name

-- fragment: is_newest
-- The version `v` is the newest of its config.
v.version = (SELECT max(w.version) FROM config_versions w WHERE w.name = v.name)

-- name: lock_configs (postgresql)
-- All active configs together decide who owns a queue, so one transaction changes configs at a time. SQLite's write lock
-- does the same.
LOCK TABLE configs IN SHARE ROW EXCLUSIVE MODE

-- name: version_of_config
-- One version of a config: the newest, unless a version is given.
{version} WHERE v.name = :name
AND v.version = :version -- if given
ORDER BY v.version DESC LIMIT 1

-- name: versions_of_config
-- The versions of one config, newest first.
{version} WHERE v.name = :name
AND v.version < :before -- if given
ORDER BY v.version DESC LIMIT :limit

-- name: newest_versions
-- The newest version of each config, the last created config first.
{version} WHERE {is_newest}
AND c.n < (SELECT n FROM configs WHERE name = :before) -- if given
ORDER BY c.n DESC LIMIT :limit

-- name: active_versions
-- The newest version of each active config.
{version} WHERE c.active AND {is_newest} ORDER BY c.n

-- name: queue_owners
-- Which routes of other active configs name these queues.
SELECT l.queue, v.name, l.route FROM lanes l
JOIN config_versions v ON v.id = l.config_version JOIN configs c ON c.name = v.name
WHERE c.active AND {is_newest} AND v.name <> :except_config AND l.queue = ANY(:queues::text[])

-- name: insert_config
-- A new config is active.
INSERT INTO configs (name, active, created_at) VALUES (:name, true, playhead_now())

-- name: insert_version
-- Returns the number of the version's row.
INSERT INTO config_versions (name, version, hash, source, document, retention, created_at)
VALUES (:name, :version, :hash, :source, :document, :retention, playhead_now()) RETURNING id

-- name: insert_lanes
-- One lane a route.
INSERT INTO lanes (config_version, route, queue, stage, external, max_attempts, feeds, on_replay, effects, declared)
VALUES (:config_version::bigint, :route::text, :queue::text, :stage::text, :external::boolean,
  :max_attempts::int, :feeds::text, :on_replay::text, :effects::text, :declared::text)

-- name: effects_of_lanes
-- What replays do in the routes of config versions.
SELECT config_version, route, on_replay, effects FROM lanes WHERE config_version = ANY(:versions::bigint[])

-- name: set_effects
-- What the adapters of a route declare.
UPDATE lanes SET effects = :effects WHERE route = :route
  AND config_version = (SELECT id FROM config_versions WHERE name = :name AND version = :version)

-- name: set_active
-- Activate or deactivate a config.
UPDATE configs SET active = :active WHERE name = :name
