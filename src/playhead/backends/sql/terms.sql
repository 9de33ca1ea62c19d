-- The search index of Find: terms, where they occur, and the states of objects.

-- name: search_index
-- How far the index is, the last numbers of outputs and executions, and the time.
SELECT s.outputs, s.executions, s.safe_outputs, s.safe_executions, s.noted_outputs, s.noted_executions, s.noted_at,
  s.trigrams, coalesce((SELECT max(n) FROM outputs), 0), coalesce((SELECT max(n) FROM executions), 0), playhead_now()
FROM search_index s

-- name: note_ends
-- The last numbers at this time; those that were noted before are safe.
UPDATE search_index SET safe_outputs = noted_outputs, safe_executions = noted_executions, noted_outputs = :outputs,
  noted_executions = :executions, noted_at = playhead_now() WHERE noted_at = :noted_at

-- name: move_search_index
-- Continue after the rows of a page. No row changes if another process has indexed them.
UPDATE search_index SET outputs = :outputs, executions = :executions
WHERE outputs = :old_outputs AND executions = :old_executions AND trigrams IS NOT NULL

-- name: outputs_to_index
-- The next outputs.
SELECT n, key, attributes FROM outputs WHERE n > :after AND n <= :last ORDER BY n LIMIT :limit

-- name: reasons_to_index
-- The requests of the next replays and publications. Without the bound of jobs, PostgreSQL reads them from the first one.
SELECT e.n, coalesce(j.request, (SELECT p.request FROM publications p WHERE p.execution = e.n))
FROM executions e LEFT JOIN jobs j ON j.execution = e.n AND j.execution > :after WHERE e.n > :after AND e.n <= :last ORDER BY e.n LIMIT :limit

-- name: execution_numbers
-- The numbers of executions.
SELECT id, n FROM executions WHERE id = ANY(:ids::uuid[])

-- name: terms_known
-- Those of these texts that are indexed.
SELECT text, n FROM terms WHERE kind = :kind AND text = ANY(:texts::text[])

-- name: insert_terms
-- Texts that are not indexed yet.
INSERT INTO terms (kind, text, name) VALUES (:kind::smallint, :text::text, :name::text)
ON CONFLICT (kind, text) DO NOTHING RETURNING n, text

-- name: insert_trigrams (sqlite)
-- The same texts, with a mark of their kind, in the index of parts of texts. PostgreSQL's index needs no statement.
INSERT INTO terms_trigrams (rowid, text) VALUES (:n::bigint, :text::text)

-- name: insert_term_uses
-- Where terms occur.
INSERT INTO term_uses (term, execution, output) VALUES (:term::bigint, :execution::bigint, :output::bigint)
ON CONFLICT (term, execution) DO UPDATE SET output = excluded.output

-- name: create_trigrams (postgresql)
-- The index of parts of texts, if a migration could not create it. It needs the extension, and the owner of the table.
SELECT playhead_trigrams()

-- name: create_trigrams (sqlite)
-- The same. It has no copy of the texts, and no positions: what it finds is compared with the text.
CREATE VIRTUAL TABLE IF NOT EXISTS terms_trigrams USING fts5(text, content='', columnsize=0, detail='none', tokenize='trigram')

-- name: drop_trigrams (sqlite)
-- In PostgreSQL, the index belongs to the table.
DROP TABLE IF EXISTS terms_trigrams

-- name: can_have_trigrams (postgresql)
-- PostgreSQL finds it out when it creates them.
SELECT true

-- name: can_have_trigrams (sqlite)
-- Whether this build of SQLite has the module.
SELECT EXISTS (SELECT 1 FROM pragma_module_list WHERE name = 'fts5')

-- name: has_trigrams (postgresql)
-- Whether parts of texts are indexed.
SELECT count(*) = 2 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname IN ('terms_paths', 'terms_others')

-- name: has_trigrams (sqlite)
-- The same.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'terms_trigrams')

-- name: set_trigrams
-- Whether parts of texts can be found.
UPDATE search_index SET trigrams = :trigrams::boolean

-- name: empty_terms
-- For a new index.
DELETE FROM terms

-- name: empty_term_uses
-- For a new index.
DELETE FROM term_uses

-- name: empty_search_index
-- For a new index. The noted numbers stay right.
UPDATE search_index SET outputs = 0, executions = 0, trigrams = NULL

-- name: plan_for_parts (postgresql)
-- For this transaction: only a bitmap scan can use the index of parts, and other statements must not use one.
SELECT set_config('enable_bitmapscan', :bitmaps::text, true), set_config('enable_indexscan', :indexes::text, true)

-- name: terms_containing (postgresql)
-- Terms that contain a text. In no order: the newest ones would need all of them.
SELECT t.n, t.kind, t.text FROM terms t WHERE t.text ILIKE :pattern
AND t.kind = 0 AND :paths::boolean  -- if given
AND t.kind > 0 AND :others::boolean -- if given
LIMIT :limit

-- name: terms_containing (sqlite)
-- The same; `match` has the mark of the kind. The newest terms come first.
SELECT t.n, t.kind, t.text
FROM terms_trigrams CROSS JOIN terms t ON t.n = terms_trigrams.rowid
WHERE terms_trigrams MATCH :match AND t.text ILIKE :pattern ORDER BY terms_trigrams.rowid DESC LIMIT :limit

-- name: newest_uses
-- The newest execution of each term.
WITH given (term) AS (SELECT * FROM unnest(:terms::bigint[]))
SELECT g.term, (SELECT max(u.execution) FROM term_uses u WHERE u.term = g.term) FROM given g

-- name: terms_beginning
-- Terms that begin with one of these texts.
WITH given (kind, first, last) AS (SELECT * FROM unnest(:kinds::smallint[], :firsts::text[], :lasts::text[]))
SELECT t.n, t.kind, t.text, (SELECT max(u.execution) FROM term_uses u WHERE u.term = t.n)
FROM given g CROSS JOIN terms t WHERE t.kind = g.kind AND t.text >= g.first AND t.text < g.last LIMIT :limit

-- name: terms_named
-- Paths whose file names begin with a text, and attributes whose values do.
SELECT t.n, t.kind, t.text, (SELECT max(u.execution) FROM term_uses u WHERE u.term = t.n)
FROM terms t /* INDEXED BY terms_by_name */ WHERE t.kind = :kind AND t.name >= :first AND t.name < :last LIMIT :limit

-- name: stages
-- The stages of all configs.
SELECT DISTINCT stage FROM lanes WHERE stage IS NOT NULL ORDER BY stage LIMIT :limit

-- name: newest_keys
-- The newest objects with a text in their paths: of the last rows, also of those that are not indexed yet. An id and its
-- slash have 37 characters.
SELECT o.key FROM (SELECT n, key, state FROM outputs ORDER BY n DESC LIMIT :rows) o
WHERE o.state = {STORED} AND substr(o.key, 38) ILIKE :pattern ORDER BY o.n DESC LIMIT :limit

-- name: term_places (postgresql)
-- The newest executions with terms, each with its object.
SELECT x.term, e.id, o.key FROM unnest(:terms::bigint[]) AS g (n) CROSS JOIN LATERAL (
  SELECT u.term, u.execution, u.output FROM term_uses u WHERE u.term = g.n ORDER BY u.execution DESC LIMIT :limit) x
JOIN executions e ON e.n = x.execution LEFT JOIN outputs o ON o.n = x.output ORDER BY x.term, x.execution DESC

-- name: term_places (sqlite)
-- The same.
SELECT u.term, e.id, o.key FROM json_each(:terms::bigint[]) g CROSS JOIN term_uses u ON u.term = g.value
  AND u.execution IN (SELECT x.execution FROM term_uses x WHERE x.term = g.value ORDER BY x.execution DESC LIMIT :limit)
CROSS JOIN executions e ON e.n = u.execution LEFT JOIN outputs o ON o.n = u.output ORDER BY u.term, u.execution DESC

-- name: count_uses
-- In how many executions terms occur, up to a limit.
SELECT t.n, (SELECT count(*) FROM (SELECT 1 FROM term_uses u WHERE u.term = t.n LIMIT :most) c)
FROM terms t WHERE t.n = ANY(:terms::bigint[])

-- name: objects_found
-- Stored objects.
SELECT o.key, o.created_at, o.pruned_at IS NOT NULL FROM outputs o WHERE o.key = ANY(:keys::text[]) AND o.state = {STORED}

-- name: states_of_objects (postgresql)
-- The newest state of each object in each route that has received it. Of a message with many children, only some are
-- read.
SELECT DISTINCT ON (x.key, l.route) x.key, x.state FROM (
  SELECT o.key, m.n, m.lane, m.state FROM outputs o CROSS JOIN LATERAL (SELECT r.n, r.lane, r.state FROM messages r
    WHERE r.object_key = o.key AND r.parent IS NULL ORDER BY r.n DESC LIMIT :most) m WHERE o.key = ANY(:keys::text[])
  UNION ALL
  SELECT o.key, m.n, m.lane, m.state FROM outputs o CROSS JOIN LATERAL (SELECT c.n, c.lane, c.state, c.object_key
    FROM messages c WHERE c.parent = o.message LIMIT :most) m WHERE o.key = ANY(:keys::text[]) AND m.object_key = o.key) x
JOIN lanes l ON l.id = x.lane ORDER BY x.key, l.route, x.n DESC

-- name: states_of_objects (sqlite)
-- The same; with max(), SQLite takes the other columns from the same row.
SELECT x.key, x.state, max(x.n) FROM (
  SELECT o.key AS key, m.n AS n, m.lane AS lane, m.state AS state FROM outputs o CROSS JOIN messages m ON m.n IN (
    SELECT r.n FROM messages r INDEXED BY messages_roots_by_key WHERE r.object_key = o.key AND r.parent IS NULL
    ORDER BY r.n DESC LIMIT :most) WHERE o.key = ANY(:keys::text[])
  UNION ALL
  SELECT o.key, m.n, m.lane, m.state FROM outputs o CROSS JOIN messages m ON m.n IN (
    SELECT c.n FROM messages c INDEXED BY messages_children WHERE c.parent = o.message LIMIT :most)
    AND m.object_key = o.key WHERE o.key = ANY(:keys::text[])) x
JOIN lanes l ON l.id = x.lane GROUP BY x.key, l.route

-- name: current_objects
-- How often objects, or the bytes that references name, are in what readers see. Without a row: the config of the
-- execution has no dataset with a publication.
WITH given (key, execution) AS (SELECT * FROM unnest(:keys::text[], :executions::uuid[]))
SELECT o.key, (SELECT count(*) FROM published p JOIN datasets d ON d.n = p.dataset
    WHERE p.output = o.n AND p.first <= d.current AND (p.last IS NULL OR p.last > d.current))
  + (SELECT count(*) FROM outputs b JOIN published p ON p.output = b.n JOIN datasets d ON d.n = p.dataset
    WHERE b.key = o.location AND p.first <= d.current AND (p.last IS NULL OR p.last > d.current))
FROM given g CROSS JOIN executions e CROSS JOIN outputs o WHERE e.id = g.execution AND o.key = g.key
  AND EXISTS (SELECT 1 FROM datasets d WHERE d.config = e.config AND d.current IS NOT NULL)

-- name: started_with
-- The newest executions with reasons.
SELECT u.term, e.id, e.batch, e.kind, coalesce(j.state, e.status), coalesce(v.name, ''), coalesce(j.to_route, ''), e.created_at
FROM term_uses u JOIN executions e ON e.n = u.execution LEFT JOIN config_versions v ON v.id = e.config_version
LEFT JOIN jobs j ON j.execution = e.n WHERE u.term = ANY(:terms::bigint[]) ORDER BY u.execution DESC LIMIT :limit

-- name: failures_containing
-- Dead letters with a text in the error.
SELECT m.id, e.id, v.name, l.route, m.object_key, m.error_code, coalesce(m.error, ''), m.ended_at FROM messages m
JOIN executions e ON e.n = m.execution JOIN lanes l ON l.id = m.lane JOIN config_versions v ON v.id = l.config_version
WHERE m.n = ANY(:rows::bigint[]) AND (m.error ILIKE :pattern OR m.error_code ILIKE :pattern)
ORDER BY m.n DESC LIMIT :limit

-- name: documents_containing
-- The newest versions of configs with a text in them.
SELECT c.name, v.document FROM configs c JOIN config_versions v ON v.name = c.name
  AND v.version = (SELECT max(w.version) FROM config_versions w WHERE w.name = c.name)
WHERE v.document ILIKE :pattern ORDER BY v.id DESC LIMIT :limit

-- name: switches_containing
-- Publications and rollbacks with a text in their reasons.
SELECT c.name, d.name, s.n, s.kind, s.reason, s.at FROM switches s JOIN datasets d ON d.n = s.dataset
JOIN configs c ON c.n = d.config WHERE s.reason ILIKE :pattern ORDER BY s.at DESC, s.seq DESC LIMIT :limit
