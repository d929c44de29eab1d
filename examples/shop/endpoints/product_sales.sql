-- GET /v1/products/{sku}/sales
-- result: one
-- A join under an aggregate.
SELECT count(*) AS lines, coalesce(sum(l.quantity), 0) AS sold, count(DISTINCT o.account_id) AS accounts
FROM order_lines l
JOIN orders o ON o.id = l.order_id
WHERE l.sku = :sku AND o.status <> 'cancelled'
