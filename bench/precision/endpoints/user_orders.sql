-- GET /v1/users/{id}/orders
SELECT id, status, total, placed_at FROM orders WHERE user_id = :id ORDER BY placed_at DESC, id DESC LIMIT 10
