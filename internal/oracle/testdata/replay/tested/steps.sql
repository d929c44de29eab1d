BEGIN;
INSERT INTO elsewhere VALUES (1);
COMMIT; -- read all 0
BEGIN;
UPDATE player SET score = 10 WHERE id = 1;
COMMIT; -- read all 1
BEGIN;
UPDATE player SET note = 'changed' WHERE id = 3;
COMMIT; -- read all 2
BEGIN;
UPDATE player SET note = 'at once', score = 11 WHERE id = 1;
COMMIT; -- read all 3
BEGIN;
UPDATE player SET note = 'again' WHERE id = 2;
COMMIT; -- read together 4
BEGIN;
UPDATE player SET score = 2 WHERE id = 2;
COMMIT; -- read batch 5
BEGIN;
UPDATE player SET note = note || '.';
COMMIT; -- read all 6
BEGIN;
UPDATE player SET team = 1, note = 'moved' WHERE id = 3;
COMMIT; -- read all 7
