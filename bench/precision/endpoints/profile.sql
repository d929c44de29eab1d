-- GET /v1/users/{id}
-- result: one
SELECT u.id, u.name, u.country, u.profile,
       (SELECT count(*) FROM follows f WHERE f.followee_id = u.id) AS followers,
       (SELECT count(*) FROM reviews r WHERE r.user_id = u.id AND r.approved) AS reviews
FROM users u WHERE u.id = :id
