-- GET /teamed/{team}
SELECT id, upper(note) AS note FROM player WHERE team = :team AND score > 3 ORDER BY id
