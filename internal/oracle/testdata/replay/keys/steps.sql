BEGIN;
INSERT INTO elsewhere VALUES (1);
COMMIT; -- read all 0
BEGIN;
INSERT INTO book VALUES (11, 1, 'new');
COMMIT; -- read all 1
BEGIN;
INSERT INTO book VALUES (21, 2, 'new');
COMMIT; -- read all 2
BEGIN;
INSERT INTO book VALUES (31, 3, 'new');
COMMIT; -- read all 3
BEGIN;
INSERT INTO book VALUES (41, 4, 'new');
COMMIT; -- read all 4
BEGIN;
UPDATE book SET title = 'again' WHERE author_id = 1;
COMMIT; -- read all 5
BEGIN;
UPDATE book SET title = 'again' WHERE author_id = 2;
COMMIT; -- read all 6
BEGIN;
UPDATE book SET title = 'again' WHERE author_id = 3;
COMMIT; -- read all 7
BEGIN;
UPDATE book SET title = 'again' WHERE author_id = 4;
COMMIT; -- read all 8
BEGIN;
UPDATE book SET title = 'third' WHERE author_id = 1;
COMMIT; -- read together 9
BEGIN;
UPDATE book SET title = 'third' WHERE author_id = 2;
COMMIT; -- read together 10
BEGIN;
UPDATE book SET title = 'third' WHERE author_id = 3;
COMMIT; -- read together 11
BEGIN;
UPDATE book SET title = 'third' WHERE author_id = 4;
COMMIT; -- read together 12
BEGIN;
DELETE FROM book WHERE id = 10;
COMMIT; -- read batch 13
BEGIN;
DELETE FROM book WHERE id = 20;
COMMIT; -- read batch 14
BEGIN;
DELETE FROM book WHERE id = 30;
COMMIT; -- read batch 15
BEGIN;
DELETE FROM book WHERE id = 40;
COMMIT; -- read batch 16
