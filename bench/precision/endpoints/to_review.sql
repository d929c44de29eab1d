-- GET /v1/users/{id}/to-review
SELECT o.id, l.line, l.product_id FROM orders o JOIN order_lines l ON l.order_id = o.id
WHERE o.user_id = :id AND o.status = 'delivered'
  AND NOT EXISTS (SELECT FROM reviews r WHERE r.user_id = o.user_id AND r.product_id = l.product_id)
ORDER BY o.id DESC, l.line LIMIT 10
