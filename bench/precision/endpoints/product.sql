-- GET /v1/products/{id}
-- result: one
SELECT id, sku, name, price, active, rating, tags, attributes FROM products WHERE id = :id
