-- GET /v1/users/{id}/followed-reviews
SELECT id, user_id, product_id, stars, title FROM reviews
WHERE approved AND user_id IN (SELECT followee_id FROM follows WHERE follower_id = :id)
ORDER BY created_at DESC, id DESC LIMIT 10
