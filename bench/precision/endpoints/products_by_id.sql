-- GET /v1/products
SELECT id, name, price, active FROM products WHERE id = ANY (:ids::bigint[]) ORDER BY id
