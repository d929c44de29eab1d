-- GET /ordered
SELECT id, upper(state) AS state FROM player WHERE score > 3 ORDER BY score, id
