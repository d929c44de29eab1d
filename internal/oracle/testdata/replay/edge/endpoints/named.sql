-- GET /named/{topic}
SELECT name, upper(title) AS title FROM post WHERE topic = :topic ORDER BY name DESC LIMIT 3
