-- GET /v1/orders/{id}
-- result: one
SELECT o.id, o.status, o.total, o.note, o.placed_at, u.name AS buyer, u.email
FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id = :id
