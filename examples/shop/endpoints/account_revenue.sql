-- GET /v1/accounts/{id}/revenue
-- Through a view.
SELECT currency, orders, revenue
FROM account_revenue
WHERE account_id = :id
ORDER BY currency
