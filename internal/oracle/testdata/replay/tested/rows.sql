INSERT INTO team VALUES (1, 'x'), (2, 'y');
-- --
INSERT INTO player VALUES (1, 1, 5, 'a'), (2, 1, 7, 'b'), (3, 2, 9, 'c');
-- --
