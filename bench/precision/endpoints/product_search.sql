-- GET /v1/product-search
-- Text in the order of its bytes.
SELECT id, name, price FROM products WHERE name LIKE :prefix || '%' ORDER BY name, id LIMIT 10
