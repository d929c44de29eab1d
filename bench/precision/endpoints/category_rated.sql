-- GET /v1/categories/{id}/rated
SELECT id, name, rating FROM products WHERE category_id = :id ORDER BY rating DESC NULLS LAST, id LIMIT 8
