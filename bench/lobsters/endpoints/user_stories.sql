-- GET /v1/users/{name}/stories
SELECT s.id, s.title, s.score, s.comments, s.created_at
FROM users u JOIN stories s ON s.user_id = u.id WHERE u.name = :name ORDER BY s.created_at DESC, s.id DESC LIMIT 20
