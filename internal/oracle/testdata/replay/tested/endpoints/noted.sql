-- GET /noted/{least}
SELECT id, upper(note) AS note FROM player WHERE score > :least ORDER BY id
