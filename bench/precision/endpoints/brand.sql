-- GET /v1/brands/{brand}
SELECT id, name, price FROM products WHERE attributes ->> 'brand' = :brand ORDER BY id
