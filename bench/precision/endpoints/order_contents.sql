-- GET /v1/orders/{id}/contents
SELECT l.line, l.quantity, l.unit_price, p.name, c.name AS category
FROM order_lines l JOIN products p ON p.id = l.product_id JOIN categories c ON c.id = p.category_id
WHERE l.order_id = :id ORDER BY l.line
