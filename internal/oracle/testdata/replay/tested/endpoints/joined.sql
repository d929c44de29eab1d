-- GET /joined/{least}
SELECT p.id, p.note, t.name FROM player p JOIN team t ON t.id = p.team WHERE p.score > :least ORDER BY p.id
