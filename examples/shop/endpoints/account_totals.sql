-- GET /v1/accounts/{id}/totals
-- An aggregate.
SELECT status, currency, count(*) AS orders, sum(total) AS total, max(placed_at) AS latest
FROM orders
WHERE account_id = :id
GROUP BY status, currency
ORDER BY status, currency
