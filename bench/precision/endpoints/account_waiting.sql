-- GET /v1/accounts/{id}/waiting
SELECT u.id, u.name FROM memberships m JOIN users u ON u.id = m.user_id
WHERE m.account_id = :id AND EXISTS (SELECT FROM orders o WHERE o.user_id = u.id AND o.status = 'pending')
ORDER BY u.id
