-- GET /v1/users/{id}/categories
SELECT DISTINCT p.category_id, c.name
FROM orders o JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id JOIN categories c ON c.id = p.category_id
WHERE o.user_id = :id ORDER BY p.category_id
