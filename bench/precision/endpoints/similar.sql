-- GET /v1/products/{id}/similar
-- A table with itself.
SELECT b.id, b.name, b.price FROM products a JOIN products b ON b.category_id = a.category_id AND b.id <> a.id
WHERE a.id = :id AND b.active ORDER BY b.price, b.id LIMIT 5
