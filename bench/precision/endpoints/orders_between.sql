-- GET /v1/accounts/{id}/orders-between
SELECT id, status, total FROM orders WHERE account_id = :id AND placed_at >= :from AND placed_at < :until ORDER BY placed_at, id
