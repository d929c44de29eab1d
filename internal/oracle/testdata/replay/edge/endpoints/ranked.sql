-- GET /ranked/{topic}
SELECT id, upper(title) AS title FROM post WHERE topic = :topic ORDER BY rank, id LIMIT 3
