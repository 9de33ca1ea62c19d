-- The broker. A received dispatch is hidden until `visible_at`, and belongs to a tag, which every later step names.

-- fragment: ready
-- A dispatch that would be hidden for longer than any receiver hides one was received before the clock was set back.
(visible_at <= playhead_now() OR visible_at > playhead_now() + :longest::float8)

-- name: queue_number
-- The number of a queue.
SELECT id FROM queues WHERE name = :queue

-- name: insert_queue
-- A queue that may exist.
INSERT INTO queues (name) VALUES (:queue) ON CONFLICT DO NOTHING

-- name: insert_dispatches
-- Numbered in the order of delivery.
INSERT INTO dispatches (queue, message_id, headers, payload)
VALUES (:queue::bigint, :message_id::text, :headers::text, :payload::text)

-- name: is_ready (postgresql)
-- Whether a queue has a ready dispatch.
SELECT EXISTS (SELECT 1 FROM dispatches WHERE queue = :queue AND {ready})

-- name: is_ready (sqlite)
-- The same, by both ends of the index that SQLite has, however many dispatches are hidden.
SELECT (SELECT min(visible_at) FROM dispatches WHERE queue = :queue) <= playhead_now()
  OR (SELECT max(visible_at) FROM dispatches WHERE queue = :queue) > playhead_now() + :longest

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
-- Hide ready dispatches, from a number on. No receiver waits for another. By the physical address (`ctid`): autovacuum
-- often records that this table is empty, and with a join the planner would then read the whole queue.
UPDATE dispatches SET visible_at = playhead_now() + :visibility::float8, tag = :tag
WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM dispatches WHERE queue = :queue AND n >= :first AND {ready}
  ORDER BY n LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING n, message_id, headers

-- name: receive (sqlite)
-- The same, by the index that SQLite has. As bytes: one text of another program that is not UTF-8 would fail the whole
-- statement.
UPDATE dispatches SET visible_at = playhead_now() + :visibility, tag = :tag WHERE n IN (
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at <= playhead_now()
    ORDER BY visible_at, n LIMIT :limit)
  UNION ALL
  SELECT n FROM (SELECT n FROM dispatches WHERE queue = :queue AND visible_at > playhead_now() + :longest LIMIT :limit)
  LIMIT :limit)
RETURNING n, CAST(message_id AS BLOB), CAST(headers AS BLOB)

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
-- the first ones, so only the first 10,000 rows are read. In a subquery, the clock is read once and not for each row.
WITH q AS MATERIALIZED (SELECT id FROM queues WHERE name = :queue), first AS (
  SELECT visible_at FROM dispatches WHERE queue = (SELECT id FROM q) ORDER BY n LIMIT 10000
), h AS MATERIALIZED (SELECT count(*) AS hidden FROM first WHERE visible_at > (SELECT playhead_now()))
SELECT (SELECT count(*) FROM dispatches WHERE queue = (SELECT id FROM q)) - h.hidden, h.hidden FROM h

-- name: depth (sqlite)
-- The same. Counting two ranges of the index takes half as long as comparing each entry.
SELECT (SELECT count(*) FROM dispatches WHERE queue = q.id AND visible_at <= playhead_now()),
  (SELECT count(*) FROM dispatches WHERE queue = q.id AND visible_at > playhead_now())
FROM (SELECT (SELECT id FROM queues WHERE name = :queue) AS id) q

-- name: is_empty
-- Whether a queue has no dispatch.
SELECT NOT EXISTS (SELECT 1 FROM dispatches WHERE queue = (SELECT id FROM queues WHERE name = :queue))

-- name: first_messages (postgresql)
-- The first messages of a queue.
SELECT headers, payload FROM dispatches
WHERE queue = (SELECT id FROM queues WHERE name = :queue) ORDER BY n LIMIT :limit

-- name: first_messages (sqlite)
-- The same, as bytes. Dispatches that were never received are in the index in this order, and few others exist.
SELECT CAST(headers AS BLOB), CAST(payload AS BLOB) FROM dispatches WHERE n IN (
  SELECT n FROM (SELECT d.n FROM queues q JOIN dispatches d ON d.queue = q.id
    WHERE q.name = :queue AND d.visible_at = 0 ORDER BY d.n LIMIT :limit)
  UNION ALL
  SELECT n FROM (SELECT d.n FROM queues q JOIN dispatches d ON d.queue = q.id
    WHERE q.name = :queue AND d.visible_at > 0 ORDER BY d.n LIMIT :limit)
) ORDER BY n LIMIT :limit

-- name: any_dispatch
-- Whether the table can be read.
SELECT 1 FROM dispatches LIMIT 1
