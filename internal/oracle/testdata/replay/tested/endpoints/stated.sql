-- GET /stated
SELECT id, upper(state) AS state FROM player WHERE state IN ('in', 'out') ORDER BY id
