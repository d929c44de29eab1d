-- GET /v1/accounts/{id}/orders-between
-- A range: ?from=2025-03-01T00:00:00Z&until=2025-04-01T00:00:00Z
SELECT id, status, currency, total, placed_at
FROM orders
WHERE account_id = :id AND placed_at >= :from AND placed_at < :until
ORDER BY placed_at, id
