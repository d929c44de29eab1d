-- GET /v1/orders-today
-- ttl: 10s
-- volatile: ok (it reads the clock, so no change of a row ends the answer)
SELECT count(*) AS orders, coalesce(sum(total), 0) AS total
FROM orders
WHERE placed_at >= now() - interval '1 day'
