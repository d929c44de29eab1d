-- GET /v1/users/{id}/totals
SELECT status, count(*) AS orders, sum(total) AS total FROM orders WHERE user_id = :id GROUP BY status ORDER BY status
