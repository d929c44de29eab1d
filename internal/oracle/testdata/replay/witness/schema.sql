CREATE TABLE author (id int PRIMARY KEY, country text NOT NULL);
-- --
CREATE TABLE book (id int PRIMARY KEY, author_id int NOT NULL, title text NOT NULL);
-- --
CREATE TABLE elsewhere (id int PRIMARY KEY);
-- --
ALTER TABLE author REPLICA IDENTITY FULL;
-- --
ALTER TABLE book REPLICA IDENTITY FULL;
-- --
