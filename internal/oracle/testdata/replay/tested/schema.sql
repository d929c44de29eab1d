CREATE TABLE player (id int PRIMARY KEY, team int NOT NULL, score int NOT NULL, note text NOT NULL);
-- --
CREATE TABLE team (id int PRIMARY KEY, name text NOT NULL);
-- --
CREATE TABLE elsewhere (id int PRIMARY KEY);
-- --
ALTER TABLE player REPLICA IDENTITY FULL;
-- --
ALTER TABLE team REPLICA IDENTITY FULL;
-- --
