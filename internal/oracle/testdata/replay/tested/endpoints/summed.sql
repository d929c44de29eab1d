-- GET /summed/{team}
SELECT sum(length(note)) AS n FROM player WHERE team = :team AND score > 3
