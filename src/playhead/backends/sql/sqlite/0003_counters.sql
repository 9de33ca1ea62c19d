-- What each process has counted (counters.py), told with its heartbeat; and the sum of those that are gone.
ALTER TABLE processes ADD COLUMN counters TEXT;
CREATE TABLE departed (counters TEXT NOT NULL);
INSERT INTO departed VALUES ('[]');

-- Dead letters are counted by lane with every scrape and every list of routes: from this index alone.
CREATE INDEX messages_dead_by_lane ON messages (lane) WHERE state = 5;
