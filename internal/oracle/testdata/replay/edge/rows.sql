INSERT INTO topic VALUES (1, 'x'), (2, 'y');
-- --
INSERT INTO post SELECT i, i / 2, 'n' || i, '2020-01-01'::timestamptz + i * interval '1 day', 't' || i, 1 FROM generate_series(1, 9) i;
-- --
