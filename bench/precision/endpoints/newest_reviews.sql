-- GET /v1/reviews/newest
-- A join of three, with no condition on any key.
SELECT r.id, r.stars, r.title, p.name AS product, u.name AS author
FROM reviews r JOIN products p ON p.id = r.product_id JOIN users u ON u.id = r.user_id
WHERE r.approved ORDER BY r.created_at DESC, r.id DESC LIMIT :limit::int
