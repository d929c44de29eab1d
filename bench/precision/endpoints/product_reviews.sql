-- GET /v1/products/{id}/reviews
-- The author may be gone.
SELECT r.id, r.stars, r.title, r.created_at, u.name AS author
FROM reviews r LEFT JOIN users u ON u.id = r.user_id
WHERE r.product_id = :id AND r.approved ORDER BY r.created_at DESC, r.id DESC LIMIT 10
