-- GET /v1/front
SELECT s.id, s.title, s.url, s.score, s.comments, s.created_at, u.name AS author
FROM stories s JOIN users u ON u.id = s.user_id
ORDER BY s.hotness DESC, s.id DESC LIMIT 25
