-- GET /v1/users/{id}
-- result: one
SELECT id, account_id, email, name, roles, active, profile, created_at
FROM users
WHERE id = :id
