-- runs from: 1
-- The span (W3C Trace Context) under which an execution was made; NULL where tracing was off. Without a
-- default no row is written anew, and the release before names its columns, so it does not notice.
ALTER TABLE executions ADD COLUMN traceparent text COLLATE "C";
