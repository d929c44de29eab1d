-- GET /v1/accounts/{id}/latest
SELECT m.user_id, m.role, o.id, o.status, o.total
FROM memberships m CROSS JOIN LATERAL (
  SELECT id, status, total, placed_at FROM orders WHERE user_id = m.user_id ORDER BY placed_at DESC, id DESC LIMIT 2
) o
WHERE m.account_id = :id ORDER BY m.user_id, o.placed_at DESC, o.id DESC
