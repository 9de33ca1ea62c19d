-- runs from: 1
-- What each process has counted (counters.py), told with its heartbeat; and, in one row, the sum of those that are
-- gone. A process of the release before tells nothing.
ALTER TABLE processes ADD COLUMN counters text;
CREATE TABLE departed (counters text NOT NULL);
INSERT INTO departed VALUES ('[]');
