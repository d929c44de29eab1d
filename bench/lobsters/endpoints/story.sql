-- GET /v1/stories/{id}
-- result: one
SELECT s.id, s.title, s.url, s.score, s.comments, s.created_at, u.name AS author, u.karma
FROM stories s JOIN users u ON u.id = s.user_id WHERE s.id = :id
