-- GET /v1/stories/{id}/comments
SELECT c.id, c.parent_id, c.body, c.score, c.created_at, u.name AS author
FROM comments c JOIN users u ON u.id = c.user_id WHERE c.story_id = :id ORDER BY c.id
