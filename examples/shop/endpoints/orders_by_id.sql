-- GET /v1/orders
-- Several at once: /v1/orders?ids={3,5,8}
SELECT id, account_id, status, currency, total, updated_at
FROM orders
WHERE id = ANY (:ids::bigint[])
ORDER BY id
