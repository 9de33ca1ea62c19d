-- runs from: 1
-- The stages that a retention has pruned in an execution, as a sorted JSON list; [] for all stages. Empty: it has to look
-- at the execution again.
ALTER TABLE executions ADD COLUMN retained text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS executions_by_retention ON executions (config, retained, n);
