-- GET /latest/{topic}
SELECT id, upper(title) AS title FROM post WHERE topic = :topic ORDER BY at DESC, id LIMIT 3
