-- GET /v1/carts/{id}/total
-- result: one
SELECT count(*) AS items, sum(quantity) AS quantity FROM cart_items WHERE cart_id = :id
