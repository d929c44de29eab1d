-- GET /v1/products/{id}/stock
-- result: one
-- Through a view.
SELECT quantity, warehouses FROM product_stock WHERE product_id = :id
