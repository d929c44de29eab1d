-- GET /doubled/{least}
SELECT id, score * 2 AS twice FROM player WHERE score > :least ORDER BY id
