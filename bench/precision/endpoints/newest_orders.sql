-- GET /v1/orders/newest
SELECT id, account_id, total, placed_at FROM orders ORDER BY placed_at DESC, id DESC LIMIT :limit::int
