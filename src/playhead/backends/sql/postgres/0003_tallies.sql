-- runs from: 1
-- What each process has counted (tally.py), told with its heartbeat; and, in one row, the sum of those that are
-- gone. A process of the release before tells nothing.
ALTER TABLE processes ADD COLUMN tally text;
CREATE TABLE departed (tally text NOT NULL);
INSERT INTO departed VALUES ('[]');
