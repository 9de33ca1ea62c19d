-- Sinks that follow datasets: which pages they get, and what they have answered.

-- fragment: of_sink
-- Results of a route that a draft adds or closes. A message that was skipped has no rows. A result that is closed and opened
-- again, because it is now below another result, does not change. They are counted because PostgreSQL would join EXISTS.
p.stage || '' = :stage AND m.state = {COMPLETED}
  AND (SELECT count(*) FROM published q WHERE q.dataset = p.dataset AND q.stage = p.stage AND q.path = p.path
    AND q.message = p.message AND q.n <> p.n AND (q.first = :number OR q.last = :number)) = 0

-- fragment: added_in_sink
-- Results that a draft adds, after an entry.
FROM published p JOIN messages m ON m.n = p.message WHERE {added_by} AND {of_sink}

-- fragment: closed_in_sink
-- Results that a draft closes, after an entry.
FROM published p JOIN messages m ON m.n = p.message
WHERE p.dataset = :dataset AND p.last = :number AND p.n > :after AND {of_sink}

-- fragment: in_sink
-- All results of a route in a publication.
FROM published p JOIN messages m ON m.n = p.message
WHERE p.dataset = :dataset AND p.stage = :stage AND p.first <= :n AND (p.last IS NULL OR p.last > :n) AND m.state = {COMPLETED}

-- name: changes_of_sink
-- How many results a draft changes in a sink.
SELECT (SELECT count(*) {added_in_sink}) + (SELECT count(*) {closed_in_sink})

-- name: content_of_sink
-- How many results of a sink a publication has.
SELECT count(*) {in_sink}

-- name: next_added
-- The next results that a draft adds to a sink, by the numbers of their entries.
SELECT p.n, m.id, p.attempt {added_in_sink} ORDER BY p.n LIMIT :limit

-- name: next_closed
-- The next results that it closes.
SELECT p.n, m.id, p.attempt {closed_in_sink} ORDER BY p.n LIMIT :limit

-- name: next_content
-- The next results of a publication, in the order of the primary key: the other conditions are no use to an index.
SELECT p.n, m.id, p.attempt FROM published p JOIN messages m ON m.n = p.message
WHERE p.n > :after AND p.dataset + 0 = :dataset AND p.stage || '' = :stage AND p.first + 0 <= :n AND (p.last IS NULL OR p.last > :n)
  AND m.state = {COMPLETED}
ORDER BY p.n LIMIT :limit

-- name: sink_results
-- Results of a publication in a sink, in the order of their messages.
SELECT m.id, p.attempt, m.stage, m.object_key {in_sink} AND m.id > :after::uuid
ORDER BY m.id LIMIT :limit

-- name: sinks_of
-- The sinks of a dataset.
SELECT route, step, since, is_rebuilt OR needs_whole FROM sinks WHERE dataset = :dataset ORDER BY route

-- fragment: lag
-- Seconds since the oldest switch that a sink has not applied. Switches to publications that it does not have do not count.
CASE WHEN d.seq > s.shown_seq AND d.current >= s.since THEN playhead_now() - (SELECT min(w.at) FROM switches w
  WHERE w.dataset = d.n AND w.seq > s.shown_seq AND w.n >= s.since) ELSE 0 END

-- name: sink_states
-- The sinks of a dataset as people see them.
SELECT s.route, s.step, s.shown, s.shown_seq, {lag}, s.page, s.pages, s.is_rebuilt OR coalesce(p.state = 'staging', false),
  s.is_rebuilt AND s.page = s.pages, s.missing, s.staging, s.problem, s.since, d.current, s.check_mode > 0, s.checked_at,
  s.checked, s.is_repairing, s.repair
FROM sinks s JOIN datasets d ON d.n = s.dataset LEFT JOIN publications p ON p.dataset = s.dataset AND p.n = s.staging
WHERE s.dataset = :dataset ORDER BY s.route

-- name: stage_sink
-- A draft will be recorded in a sink.
INSERT INTO sinks (dataset, route, config_version, step, since, staging, after, pages)
VALUES (:dataset, :route, :version, :step, :since, :n, :after, :pages)
ON CONFLICT (dataset, route) DO UPDATE SET config_version = excluded.config_version, step = excluded.step, since = excluded.since,
  staging = excluded.staging, after = excluded.after, pages = excluded.pages, page = 0, cursor = 0, missing = 0, first_missing = NULL,
  problem_code = NULL, problem = NULL, retry_at = 0, is_rebuilt = false, needs_whole = false,
  generation = CASE WHEN excluded.after = 0 THEN sinks.generation + 1 ELSE sinks.generation END,
  shown = CASE WHEN sinks.step = excluded.step THEN sinks.shown END,
  shown_seq = CASE WHEN sinks.step = excluded.step THEN sinks.shown_seq ELSE 0 END

-- name: release_sinks
-- Sinks that the dataset does not have any more: they keep what they show.
DELETE FROM sinks WHERE dataset = :dataset AND route <> ALL(:routes::text[])

-- fragment: has_page
-- A page of a draft is next, or one of a published publication that is rebuilt.
(s.page < s.pages AND (s.is_rebuilt OR coalesce(p.state = 'staging', false)))

-- fragment: has_switch
-- A switch is next. A publication without all of its rows is not shown.
(d.current >= s.since AND (CASE WHEN s.is_rebuilt THEN s.page = s.pages AND s.missing = 0 ELSE d.seq > s.shown_seq END))

-- name: due_sinks
-- Sinks that are not up to date, each with its next step.
SELECT s.dataset, c.name, d.name, s.route, v.version, s.generation,
  CASE WHEN {has_page} THEN s.staging END, s.page, s.pages, s.after, s.cursor,
  CASE WHEN {has_switch} THEN d.current END, d.seq, d.current, s.must_forget, s.check_mode, s.repairs
FROM sinks s JOIN datasets d ON d.n = s.dataset JOIN configs c ON c.n = d.config JOIN config_versions v ON v.id = s.config_version
LEFT JOIN publications p ON p.dataset = s.dataset AND p.n = s.staging
WHERE s.retry_at <= playhead_now() AND ({has_page} OR {has_switch} OR s.must_forget OR s.check_mode > 0) ORDER BY s.dataset, s.route

-- fragment: reached
-- A step that changes no publication solves no other problem.
problem = CASE WHEN problem_code <> 'sink_unavailable' THEN problem END,
  problem_code = CASE WHEN problem_code <> 'sink_unavailable' THEN problem_code END

-- name: sink_staged
-- A sink has recorded a page. Repeated or late, it changes nothing.
UPDATE sinks SET page = page + 1, cursor = :cursor, missing = missing + :missing,
  first_missing = coalesce(first_missing, (SELECT m.n FROM messages m WHERE m.id = :first_missing::uuid)),
  problem_code = NULL, problem = NULL
WHERE dataset = :dataset AND route = :route AND staging = :n AND page = :page AND generation = :generation

-- name: sink_switched
-- What a sink shows.
UPDATE sinks SET shown = :n, shown_seq = :seq, problem_code = NULL, problem = NULL, is_rebuilt = false, is_lag_reported = false
WHERE dataset = :dataset AND route = :route AND generation = :generation AND shown_seq <= :seq

-- name: lagging_sinks
-- Sinks whose lag has not been reported, with the seconds.
SELECT s.dataset, d.name, s.route, {lag} FROM sinks s JOIN datasets d ON d.n = s.dataset
WHERE NOT s.is_lag_reported AND d.seq > s.shown_seq AND {lag} > :seconds::float8 ORDER BY s.dataset, s.route

-- name: report_lag
-- Report the lag of a sink once, until it shows a newer switch.
UPDATE sinks SET is_lag_reported = true WHERE dataset = :dataset AND route = :route AND NOT is_lag_reported
  AND shown_seq < (SELECT d.seq FROM datasets d WHERE d.n = :dataset)

-- name: sink_failed
-- A sink cannot be changed now.
UPDATE sinks SET problem_code = :code, problem = :detail, retry_at = playhead_now() + :delay::float8
WHERE dataset = :dataset AND route = :route

-- name: unready_sinks
-- Sinks that a draft waits for, or that refuse it.
SELECT s.route, s.page < s.pages, s.missing, s.problem_code, s.problem, m.stage, m.object_key, e.id
FROM sinks s LEFT JOIN messages m ON m.n = s.first_missing LEFT JOIN executions e ON e.n = m.execution
WHERE s.dataset = :dataset AND s.staging = :n AND (s.page < s.pages OR s.missing > 0) ORDER BY s.route

-- name: prepare_draft
-- All sinks have the content of a draft.
UPDATE publications SET state = 'prepared' WHERE dataset = :dataset AND n = :n AND epoch = :epoch AND state IN ('staging', 'prepared')

-- name: sinks_must_forget
-- After a drop, the sinks of a dataset delete what is not needed any more.
UPDATE sinks SET must_forget = true WHERE dataset = :dataset

-- name: all_sinks_must_forget
-- Once in an hour, all sinks delete rows of executions that were pruned.
UPDATE sinks SET must_forget = true WHERE NOT must_forget AND forgot_at < playhead_now() - 3600

-- name: dropped_numbers
-- Numbers that no reader asks for any more.
SELECT n FROM publications WHERE dataset = :dataset AND (state = 'dropped' OR state = 'abandoned') ORDER BY n

-- name: pruned_executions
-- Executions of a dataset's config that were pruned whole since a sink last deleted rows. No publication can take results of them.
SELECT e.id FROM prunings g JOIN executions e ON e.n = g.execution JOIN datasets d ON d.config = e.config
JOIN sinks s ON s.dataset = d.n AND s.route = :route
WHERE d.n = :dataset AND g.stage = '' AND g.pruned_at > s.forgot_at - 60 ORDER BY g.n

-- name: sink_forgot
-- A sink has deleted what is not needed.
UPDATE sinks SET must_forget = false, forgot_at = :at::float8, {reached} WHERE dataset = :dataset AND route = :route

-- name: check_sinks
-- Compare sinks with what is published. A repair that has begun goes on.
UPDATE sinks SET retry_at = 0,
  check_mode = CASE WHEN check_mode > 1 THEN check_mode WHEN is_repairing THEN 1 ELSE :mode END,
  repairs = repairs + CASE WHEN :mode = 2 AND check_mode < 2 AND NOT is_repairing THEN 1 ELSE 0 END
WHERE dataset = :dataset
AND route = :route -- if given

-- name: sink_checked
-- How a sink differs from what is published, and how lost rows are written again. An answer to an earlier request changes nothing.
UPDATE sinks SET check_mode = 0, checked = :checked, checked_at = playhead_now(), {reached},
  is_repairing = CASE WHEN :repair::text IS NULL THEN is_repairing ELSE :is_repairing END,
  repair = coalesce(:repair::text, repair)
WHERE dataset = :dataset AND route = :route AND repairs = :repairs

-- name: open_repairs
-- Sinks whose lost rows are written again by replays that are not published yet.
SELECT s.dataset, c.name, d.name, s.route, s.repairs, s.repair FROM sinks s JOIN datasets d ON d.n = s.dataset JOIN configs c ON c.n = d.config
WHERE s.is_repairing ORDER BY s.dataset, s.route

-- name: newest_with_part
-- The newest publication, also an abandoned one, that has an execution as a part.
SELECT max(t.n) FROM publication_parts t WHERE t.dataset = :dataset
  AND t.execution = (SELECT e.n FROM executions e WHERE e.id = :execution::uuid)

-- name: end_repair
-- The replays of a repair are published, or cannot be. Once they are, the sink is compared again.
UPDATE sinks SET is_repairing = false, repair = :repair, check_mode = CASE WHEN :is_published AND check_mode = 0 THEN 1 ELSE check_mode END
WHERE is_repairing AND dataset = :dataset AND route = :route AND repairs = :repairs

-- name: rebuild_sink
-- A sink gets the whole content of the current publication again, and is checked afterwards.
UPDATE sinks SET staging = :n, after = 0, pages = :pages, page = 0, cursor = 0, missing = 0, first_missing = NULL, since = :n,
  generation = generation + 1, is_rebuilt = true, needs_whole = :needs_whole, check_mode = 3, problem_code = NULL, problem = NULL, retry_at = 0
WHERE dataset = :dataset AND route = :route

-- name: catalog_time
-- The clock of the catalog.
SELECT playhead_now()
