-- GET /joined/{topic}
SELECT p.id, p.title, t.name FROM post p JOIN topic t ON t.id = p.topic WHERE p.topic = :topic ORDER BY p.id LIMIT 3
