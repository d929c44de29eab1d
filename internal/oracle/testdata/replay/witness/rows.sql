INSERT INTO author VALUES (1, 'is'), (2, 'is'), (3, 'is'), (4, 'no');
-- --
INSERT INTO book VALUES (10, 1, 'a'), (11, 1, 'a'), (20, 2, 'b'), (30, 3, 'c'), (31, 3, 'd'), (40, 4, 'd');
-- --
