-- GET /v1/categories/{id}/products
-- Prices tie; the page may begin further on.
SELECT id, name, price FROM products WHERE category_id = :id AND active
ORDER BY price, id LIMIT 6 OFFSET coalesce(:offset::int, 0)
