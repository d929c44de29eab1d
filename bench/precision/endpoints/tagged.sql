-- GET /v1/tags/{tag}
SELECT id, name, price FROM products WHERE :tag = ANY (tags) AND active ORDER BY id LIMIT 20
