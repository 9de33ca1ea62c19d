-- The span (W3C Trace Context) under which an execution was made; NULL where tracing was off.
ALTER TABLE executions ADD COLUMN traceparent TEXT;
