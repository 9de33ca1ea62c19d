-- runs from: 1
-- The stages that a retention has pruned in an execution, as a sorted JSON list; [] for all stages. Empty: it has to look
-- at the execution again. `records`: its records are deleted, so nothing is left to do.
ALTER TABLE executions ADD COLUMN retained text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS executions_by_retention ON executions (config, retained, n);

-- When the records of an execution were deleted: its messages, outputs, reports and webhooks. This commits first, so no
-- reader takes the remaining ones for all of them.
ALTER TABLE executions ADD COLUMN records_deleted_at double precision;
ALTER TABLE executions ADD COLUMN records_open boolean NOT NULL DEFAULT false;  -- some of them may still exist
CREATE INDEX IF NOT EXISTS executions_records_open ON executions (n) WHERE records_open;
-- JSON of a replay whose records are deleted: what was counted in them (replays.py).
ALTER TABLE jobs ADD COLUMN numbers text;
