-- GET /v1/accounts/{id}/orders
-- The latest orders: /v1/accounts/{id}/orders?status=pending&limit=5
SELECT id, user_id, status, currency, total, express, tags, placed_at
FROM orders
WHERE account_id = :id
  AND (:status::order_status IS NULL OR status = :status)
ORDER BY placed_at DESC, id DESC
LIMIT least(coalesce(:limit::int, 20), 100)
