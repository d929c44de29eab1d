-- GET /v1/bought
-- A chain of four whose one end is given.
SELECT o.id, l.line, l.quantity, p.name, p.price
FROM users u JOIN orders o ON o.user_id = u.id JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id
WHERE u.email = :email ORDER BY o.placed_at DESC, o.id DESC, l.line LIMIT 12
