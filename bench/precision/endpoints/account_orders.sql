-- GET /v1/accounts/{id}/orders
SELECT id, user_id, status, total, placed_at FROM orders
WHERE account_id = :id AND (:status::text IS NULL OR status = :status)
ORDER BY placed_at DESC, id DESC LIMIT 15
