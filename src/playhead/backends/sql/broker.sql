-- The broker. A received dispatch is hidden until `visible_at`, and belongs to a tag, which every later step names.

-- fragment: ready
-- A dispatch that would be hidden for longer than any receiver hides one was received before the clock was set back.
(visible_at <= playhead_now() OR visible_at > playhead_now() + :longest::float8)

-- name: queue_numbers
-- The numbers of the levels of a queue: normal, bulk.
SELECT id FROM queues WHERE name = :queue ORDER BY bulk

-- name: insert_queue
-- A queue that may exist, with both levels.
INSERT INTO queues (name, bulk) VALUES (:queue, false), (:queue, true) ON CONFLICT DO NOTHING

-- name: insert_dispatches
-- Numbered in the order of delivery.
INSERT INTO dispatches (queue, message_id, headers, payload)
VALUES (:queue::bigint, :message_id::text, :headers::text, :payload::text)

-- name: is_ready (postgresql)
-- Whether a queue has a ready dispatch on either level.
SELECT EXISTS (SELECT 1 FROM dispatches WHERE queue = :normal AND {ready})
  OR EXISTS (SELECT 1 FROM dispatches WHERE queue = :bulk AND {ready})

-- name: is_ready (sqlite)
-- The same, by both ends of the index that SQLite has, however many dispatches are hidden.
SELECT EXISTS (SELECT 1 FROM (SELECT :normal AS id UNION ALL SELECT :bulk) AS level
  WHERE (SELECT min(visible_at) FROM dispatches WHERE queue = level.id) <= playhead_now()
    OR (SELECT max(visible_at) FROM dispatches WHERE queue = level.id) > playhead_now() + :longest)

-- name: ready_queues (postgresql)
-- Those of these queues that have a ready dispatch.
SELECT q.name FROM queues q WHERE q.name = ANY(:queues::text[])
  AND EXISTS (SELECT 1 FROM dispatches WHERE queue = q.id AND {ready})

-- name: ready_queues (sqlite)
-- All queues that have a ready dispatch, in one step for each queue that has dispatches. Empty queues cost nothing.
WITH RECURSIVE used (id) AS (
  SELECT min(queue) FROM dispatches
  UNION ALL
  SELECT (SELECT min(queue) FROM dispatches WHERE queue > id) FROM used WHERE id IS NOT NULL
)
SELECT name FROM used JOIN queues USING (id)
WHERE (SELECT min(visible_at) FROM dispatches WHERE queue = used.id) <= playhead_now()
  OR (SELECT max(visible_at) FROM dispatches WHERE queue = used.id) > playhead_now() + :longest

-- name: receive (postgresql)
-- Hide ready dispatches, from a number on: what the bulk level is owed, then normal ones, then bulk ones. No receiver waits
-- for another. By the physical address (`ctid`): autovacuum often records that this table is empty, and with a join the
-- planner would then read the whole queue.
WITH owed AS MATERIALIZED (
  SELECT ctid, n FROM dispatches WHERE queue = :bulk AND n >= :bulk_first AND {ready}
  ORDER BY n LIMIT :owed FOR UPDATE SKIP LOCKED
), normal AS MATERIALIZED (
  SELECT ctid FROM dispatches WHERE queue = :normal AND n >= :normal_first AND {ready}
  ORDER BY n LIMIT :limit::bigint - (SELECT count(*) FROM owed) FOR UPDATE SKIP LOCKED
), rest AS MATERIALIZED (
  SELECT ctid FROM dispatches WHERE queue = :bulk AND n >= :bulk_first AND n > (SELECT coalesce(max(n), 0) FROM owed)
    AND {ready}
  ORDER BY n LIMIT :limit::bigint - (SELECT count(*) FROM owed) - (SELECT count(*) FROM normal) FOR UPDATE SKIP LOCKED
)
UPDATE dispatches SET visible_at = playhead_now() + :visibility::float8, tag = :tag
WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM owed UNION ALL SELECT ctid FROM normal UNION ALL SELECT ctid FROM rest))
RETURNING queue, n, message_id, headers

-- name: receive (sqlite)
-- The same for one level, by the index that SQLite has. As bytes: one text of another program that is not UTF-8 would fail
-- the whole statement.
UPDATE dispatches SET visible_at = playhead_now() + :visibility, tag = :tag WHERE n IN (
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at <= playhead_now()
    ORDER BY visible_at, n LIMIT :limit)
  UNION ALL
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at > playhead_now() + :longest LIMIT :limit)
  LIMIT :limit)
RETURNING queue, n, CAST(message_id AS BLOB), CAST(headers AS BLOB)

-- name: lock_dispatches (postgresql)
-- Lock dispatches that still have the tag of their receive; return their addresses. The arrays are sorted, see
-- `SqlBroker._change`. Without OFFSET, the planner might read all queues instead of one row at a time.
SELECT p.ctid FROM unnest(:queues::bigint[], :numbers::bigint[], :tags::bigint[]) AS t (queue, n, tag)
CROSS JOIN LATERAL (SELECT d.ctid FROM dispatches d
  WHERE d.queue = t.queue AND d.n = t.n AND d.tag = t.tag OFFSET 0 FOR UPDATE) p

-- name: ack (postgresql)
-- Delete dispatches that are locked.
DELETE FROM dispatches WHERE ctid = ANY(:places::tid[])

-- name: ack (sqlite)
-- The same, for dispatches of one receive. Comparing pairs of number and tag would take twice as long.
DELETE FROM dispatches WHERE n = ANY(:numbers::bigint[]) AND tag = :tag

-- name: extend (postgresql)
-- Hide dispatches again, for the whole time from now on.
UPDATE dispatches SET visible_at = playhead_now() + :visibility::float8 WHERE ctid = ANY(:places::tid[])

-- name: extend (sqlite)
-- The same, for dispatches of one receive.
UPDATE dispatches SET visible_at = playhead_now() + :visibility WHERE n = ANY(:numbers::bigint[]) AND tag = :tag

-- name: release (postgresql)
-- Show dispatches again, at once. They get a tag that no receive has.
UPDATE dispatches SET visible_at = playhead_now(), tag = 0 WHERE ctid = ANY(:places::tid[])

-- name: release (sqlite)
-- The same, for dispatches of one receive.
UPDATE dispatches SET visible_at = playhead_now(), tag = 0 WHERE n = ANY(:numbers::bigint[]) AND tag = :tag

-- name: depth (postgresql)
-- How many dispatches are ready and hidden. All are counted in the index alone, where pages are vacuumed. Receivers hide
-- the first ones of a level, so only its first 10,000 rows are read. In a subquery, the clock is read once and not for
-- each row.
SELECT coalesce(sum((SELECT count(*) FROM dispatches WHERE queue = q.id)) - sum(h.hidden), 0)::bigint,
  coalesce(sum(h.hidden), 0)::bigint
FROM queues q CROSS JOIN LATERAL (SELECT count(*) AS hidden FROM (
    SELECT visible_at FROM dispatches WHERE queue = q.id ORDER BY n LIMIT 10000) AS first
  WHERE visible_at > (SELECT playhead_now())) h
WHERE q.name = :queue

-- name: depth (sqlite)
-- The same. Counting two ranges of the index for each level takes half as long as comparing each entry.
SELECT coalesce(sum((SELECT count(*) FROM dispatches WHERE queue = q.id AND visible_at <= playhead_now())), 0),
  coalesce(sum((SELECT count(*) FROM dispatches WHERE queue = q.id AND visible_at > playhead_now())), 0)
FROM queues q WHERE q.name = :queue

-- name: is_empty
-- Whether a queue has no dispatch.
SELECT NOT EXISTS (SELECT 1 FROM queues q WHERE q.name = :queue
  AND EXISTS (SELECT 1 FROM dispatches WHERE queue = q.id))

-- name: first_messages (postgresql)
-- The first messages of a level.
SELECT headers, payload FROM dispatches WHERE queue = :queue ORDER BY n LIMIT :limit

-- name: first_messages (sqlite)
-- The same, as bytes. Dispatches that were never received are in the index in this order, and few others exist.
SELECT CAST(headers AS BLOB), CAST(payload AS BLOB) FROM dispatches WHERE n IN (
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at = 0 ORDER BY n LIMIT :limit)
  UNION ALL
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at > 0 ORDER BY n LIMIT :limit)
) ORDER BY n LIMIT :limit

-- name: any_dispatch
-- Whether the table can be read.
SELECT 1 FROM dispatches LIMIT 1
