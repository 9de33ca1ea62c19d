-- runs from: 1
-- The stages of an execution that a retention has deleted: a JSON list, or empty for all of them. NULL: none.
ALTER TABLE executions ADD COLUMN retained text COLLATE "C";
CREATE INDEX IF NOT EXISTS executions_by_retention ON executions (config, retained, n);
