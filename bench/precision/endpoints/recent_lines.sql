-- GET /v1/users/{id}/recent-lines
WITH recent AS (
  SELECT id, placed_at FROM orders WHERE user_id = :id ORDER BY placed_at DESC, id DESC LIMIT 3
)
SELECT recent.id, l.line, l.product_id, l.quantity FROM recent JOIN order_lines l ON l.order_id = recent.id
ORDER BY recent.placed_at DESC, recent.id DESC, l.line
