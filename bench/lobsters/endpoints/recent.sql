-- GET /v1/comments
SELECT c.id, c.body, c.score, c.created_at, u.name AS author, s.id AS story, s.title
FROM comments c JOIN users u ON u.id = c.user_id JOIN stories s ON s.id = c.story_id
ORDER BY c.created_at DESC, c.id DESC LIMIT 20
