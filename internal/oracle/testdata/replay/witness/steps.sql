BEGIN;
INSERT INTO elsewhere VALUES (1);
COMMIT; -- read all 0
BEGIN;
DELETE FROM book WHERE id = 20;
COMMIT; -- read all 1
BEGIN;
INSERT INTO book VALUES (20, 2, 'b');
COMMIT; -- read all 2
BEGIN;
UPDATE book SET author_id = 3, title = 'c' WHERE id = 20;
COMMIT; -- read all 3
BEGIN;
UPDATE book SET author_id = 2, title = 'b' WHERE id = 20;
COMMIT; -- read all 4
BEGIN;
DELETE FROM book WHERE id = 10;
COMMIT; -- read all 5
BEGIN;
DELETE FROM book WHERE id = 11;
COMMIT; -- read all 6
BEGIN;
DELETE FROM book WHERE id = 30;
COMMIT; -- read together 7
BEGIN;
DELETE FROM book WHERE id = 31;
COMMIT; -- read batch 8
BEGIN;
DELETE FROM book WHERE id = 40;
COMMIT; -- read all 9
