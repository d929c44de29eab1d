-- GET /v1/orders/{id}
-- result: one
-- A join, with the lines nested. The lines are found by :id itself, not by
-- o.id, so that only this order's lines can touch the answer.
SELECT o.id, o.status, o.currency, o.total, o.note, o.shipping, o.placed_at, o.updated_at,
       u.name AS buyer, u.email,
       (SELECT json_agg(json_build_object(
                 'line', l.line, 'sku', l.sku, 'quantity', l.quantity, 'unit_price', l.unit_price) ORDER BY l.line)
        FROM order_lines l WHERE l.order_id = :id) AS lines
FROM orders o
JOIN users u ON u.id = o.user_id
WHERE o.id = :id
