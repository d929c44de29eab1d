-- GET /v1/users/{id}/addresses
SELECT id, kind, street, city FROM addresses WHERE user_id = :id ORDER BY id
