-- GET /v1/accounts/{id}/express
SELECT id, user_id, total, placed_at FROM orders WHERE account_id = :id AND express AND shipped_at IS NULL ORDER BY placed_at, id
