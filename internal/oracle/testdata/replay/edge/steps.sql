BEGIN;
INSERT INTO elsewhere VALUES (1);
COMMIT; -- read all 0
BEGIN;
UPDATE post SET title = 'u1' WHERE id = 1;
COMMIT; -- read all 1
BEGIN;
UPDATE post SET title = 'u2' WHERE id = 2;
COMMIT; -- read all 2
BEGIN;
UPDATE post SET title = 'u3' WHERE id = 3;
COMMIT; -- read all 3
BEGIN;
UPDATE post SET title = 'u4' WHERE id = 4;
COMMIT; -- read all 4
BEGIN;
UPDATE post SET title = 'u5' WHERE id = 5;
COMMIT; -- read all 5
BEGIN;
UPDATE post SET title = 'u6' WHERE id = 6;
COMMIT; -- read all 6
BEGIN;
UPDATE post SET title = 'u7' WHERE id = 7;
COMMIT; -- read all 7
BEGIN;
UPDATE post SET title = 'u8' WHERE id = 8;
COMMIT; -- read all 8
BEGIN;
UPDATE post SET title = 'u9' WHERE id = 9;
COMMIT; -- read all 9
BEGIN;
UPDATE post SET title = 'v3' WHERE id = 3;
COMMIT; -- read together 10
BEGIN;
UPDATE post SET title = 'v7' WHERE id = 7;
COMMIT; -- read together 11
BEGIN;
DELETE FROM post WHERE id = 3;
COMMIT; -- read batch 12
BEGIN;
DELETE FROM post WHERE id = 7;
COMMIT; -- read batch 13
BEGIN;
UPDATE post SET title = title || 'w' WHERE id IN (4, 6);
COMMIT; -- read all 14
