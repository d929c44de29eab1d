-- GET /v1/accounts-waiting
-- Accounts that have an open order: EXISTS.
SELECT a.id, a.name, a.plan
FROM accounts a
WHERE a.active
  AND EXISTS (SELECT FROM orders o WHERE o.account_id = a.id AND o.status = 'pending')
ORDER BY a.name, a.id
