-- GET /v1/accounts/{id}/user-search
-- Search by the beginning of a name: /v1/accounts/{id}/user-search?prefix=Dar
SELECT id, email, name
FROM users
WHERE account_id = :id AND starts_with(name, :prefix)
ORDER BY name, id
LIMIT 20
