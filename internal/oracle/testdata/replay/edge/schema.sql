CREATE TABLE post (id int PRIMARY KEY, rank int, name text COLLATE "C" NOT NULL, at timestamptz NOT NULL, title text NOT NULL, topic int NOT NULL);
-- --
CREATE TABLE topic (id int PRIMARY KEY, name text NOT NULL);
-- --
CREATE TABLE elsewhere (id int PRIMARY KEY);
-- --
ALTER TABLE post REPLICA IDENTITY FULL;
-- --
ALTER TABLE topic REPLICA IDENTITY FULL;
-- --
