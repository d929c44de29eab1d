-- GET /v1/orders/{id}/history
-- A partitioned table.
SELECT at, status
FROM order_events
WHERE order_id = :id
ORDER BY at, status
