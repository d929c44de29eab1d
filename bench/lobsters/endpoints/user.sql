-- GET /v1/users/{name}
-- result: one
SELECT id, name, about, karma, created_at FROM users WHERE name = :name
