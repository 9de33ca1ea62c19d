-- Plans of replays.

-- name: insert_plan
-- Returns a row, unless there is one with this id.
INSERT INTO plans (id, state, owner, request, request_sha256, source, lane, created_at, expires_at)
VALUES (:id::uuid, 'listing', :owner, :request, :request_sha256, :source::uuid, :lane, playhead_now(),
  playhead_now() + :seconds::float8) ON CONFLICT DO NOTHING RETURNING n

-- fragment: plan
-- The columns that a `Plan` is built from.
SELECT p.n, p.id, CASE WHEN p.state = 'ready' AND p.expires_at <= playhead_now() THEN 'expired' ELSE p.state END,
  p.digest, p.request, p.lane, p.found, p.batch, p.error, p.created_at, p.expires_at,
  CASE WHEN p.state = 'listing' THEN (SELECT sum(g.objects) FROM plan_pages g WHERE g.plan = p.n) END
FROM plans p

-- name: plan_of_id
-- One plan.
{plan} WHERE p.id = :id::uuid

-- name: newest_plans
-- Plans, newest first.
{plan} WHERE p.n < :before ORDER BY p.n DESC LIMIT :limit

-- name: lock_plan
-- A plan in a state, locked until the transaction ends.
SELECT n FROM plans WHERE id = :id::uuid AND state = :state FOR UPDATE

-- name: insert_plan_page
-- The same page may be stored again.
INSERT INTO plan_pages (plan, no, first_key, last_key, objects, sha256, data)
VALUES (:plan::bigint, :no::int, :first_key::text, :last_key::text, :objects::int, :sha256::bytea, :data::bytea)
ON CONFLICT DO NOTHING

-- name: finish_plan
-- The set is complete.
UPDATE plans SET state = 'ready', digest = :digest, found = :found WHERE n = :plan

-- name: fail_plan
-- No replay can be started from it.
UPDATE plans SET state = 'failed', error = :error WHERE id = :id::uuid AND state = 'listing'

-- name: plan_pages
-- Pages that have keys after a key.
SELECT g.no, g.first_key, g.last_key, g.objects, g.sha256, g.data FROM plan_pages g
WHERE g.plan = (SELECT p.n FROM plans p WHERE p.id = :id::uuid) AND g.last_key > :after ORDER BY g.no LIMIT :limit

-- fragment: lost_plan
-- The process that makes the plan `p` is dead.
p.state = 'listing' AND p.owner NOT IN ({alive})

-- fragment: expired_plan
-- No replay can be started from the plan `p` any more.
p.state = 'ready' AND p.expires_at <= playhead_now()

-- fragment: forgotten_plan
-- The plan `p` has expired for as long as it was valid.
p.state <> 'used' AND p.state <> 'listing' AND 2 * p.expires_at - p.created_at <= playhead_now()

-- fragment: idle_pages
-- Pages of the plan `p` that no replay needs any more: it was not started, or it has listed its objects. A listing that
-- was abandoned may be continued.
(p.state IN ('failed', 'expired') OR p.state = 'used' AND NOT EXISTS (
  SELECT 1 FROM executions e JOIN jobs j ON j.execution = e.n WHERE e.batch = p.batch
    AND j.state NOT IN ('cancelled', 'refused')
    AND (j.listing_state = 'open' OR j.listing_state = 'dead' AND p.expires_at > playhead_now())))

-- name: has_plan_upkeep
-- Whether there is anything to do. Two statements, as a plan with pages is either unused, or its pages are few.
SELECT 1 FROM plans p WHERE p.state <> 'used' AND ({lost_plan} OR {expired_plan} OR {forgotten_plan})
UNION ALL
SELECT 1 FROM plans p WHERE p.n IN (SELECT g.plan FROM plan_pages g WHERE g.no = 0) AND {idle_pages} LIMIT 1

-- name: fail_lost_plans
-- No other process continues it.
UPDATE plans AS p SET state = 'failed', error = :error WHERE {lost_plan}

-- name: expire_plans
-- Plans that were not used in time.
UPDATE plans AS p SET state = 'expired' WHERE {expired_plan}

-- name: delete_idle_pages
-- Pages that no replay needs any more.
DELETE FROM plan_pages WHERE plan IN (
  SELECT p.n FROM plans p WHERE p.n IN (SELECT g.plan FROM plan_pages g WHERE g.no = 0) AND {idle_pages})

-- name: delete_forgotten_plans
-- Their pages were deleted when they expired.
DELETE FROM plans AS p WHERE {forgotten_plan}

-- name: publishing_rates
-- Sizes and seconds of the newest replays into the route of a config, whichever its version.
SELECT r.ordinals, r.seconds FROM (
  SELECT j.lane, j.ordinals, j.ended_at - e.created_at AS seconds FROM executions e JOIN jobs j ON j.execution = e.n
  WHERE e.batch IS NOT NULL AND j.state IN ('publishing_complete', 'partial_failure') AND j.ordinals > 0
    AND j.pace_rate IS NULL AND j.pace_depth IS NULL AND j.ended_at > e.created_at
  ORDER BY e.n DESC LIMIT :limit) r
WHERE r.lane IN (SELECT l.id FROM lanes l JOIN config_versions v ON v.id = l.config_version
  WHERE v.name = :config AND l.route = :route)

-- name: use_plan
-- One transaction at a time uses the plan; the others find it used. Returns its number.
UPDATE plans SET state = 'used', batch = :batch::uuid
WHERE id = :id::uuid AND state = 'ready' AND expires_at > playhead_now() RETURNING n

-- name: use_plan_in_job
-- The job lists its objects from the plan.
UPDATE jobs SET plan = :plan WHERE execution = :execution

-- name: lock_checking
-- The job of a holder whose epoch is current, and which has a plan. It stays current until the transaction ends.
SELECT j.execution, j.plan, j.state FROM executions e JOIN jobs j ON j.execution = e.n
WHERE e.id = :job::uuid AND j.epoch = :epoch AND j.state IN ('checking', 'publishing') AND j.plan IS NOT NULL
FOR UPDATE OF j

-- name: keep_check
-- Record how far the check is.
UPDATE jobs SET checked = :checked, idle_takeovers = 0
WHERE execution = (SELECT n FROM executions WHERE id = :job::uuid) AND epoch = :epoch AND state = 'checking'

-- name: pass_check
-- The plan of a job is what the store has. Its listing begins.
UPDATE jobs SET state = 'publishing' WHERE execution = :execution AND state = 'checking'

-- name: refuse_plan
-- The plan of a job is no longer what the store has. Nothing was recorded.
UPDATE jobs SET state = 'refused', listing_state = 'dead', error_code = 'plan_changed', error = :error, owner = NULL,
  lease_until = 0, ended_at = playhead_now() WHERE execution = :execution

-- name: plan_of_number
-- What a job needs of its plan.
SELECT id, found FROM plans WHERE n = :plan

-- name: found_of_plan
-- What was found for a plan, as JSON, by the number of its row.
SELECT found FROM plans WHERE n = :plan

-- name: set_found
-- Replace what was found.
UPDATE plans SET found = :found WHERE n = :plan

-- name: found_by_plan
-- What was found for a plan, as JSON.
SELECT found FROM plans WHERE id = :id::uuid
