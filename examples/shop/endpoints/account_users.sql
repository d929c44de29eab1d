-- GET /v1/accounts/{id}/users
-- A list with optional filters: /v1/accounts/{id}/users?active=true&role=admin
SELECT id, email, name, roles, active
FROM users
WHERE account_id = :id
  AND (:active::boolean IS NULL OR active = :active)
  AND (:role::text IS NULL OR :role = ANY (roles))
ORDER BY name, id
