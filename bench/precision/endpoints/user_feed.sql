-- GET /v1/users/{id}/feed
SELECT 'order' AS kind, id, placed_at AS at FROM orders WHERE user_id = :id
UNION
SELECT 'review', id, created_at FROM reviews WHERE user_id = :id AND approved
ORDER BY at DESC, kind, id DESC LIMIT 10
