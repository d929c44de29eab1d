-- GET /v1/accounts/{id}
-- result: one
-- By key: only a change of this one row touches the answer.
SELECT id, name, plan, country, settings, active, created_at
FROM accounts
WHERE id = :id
