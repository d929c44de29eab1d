-- GET /v1/settled
SELECT id FROM settled
