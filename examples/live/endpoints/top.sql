-- GET /v1/top
-- key: id
-- The ten best players
SELECT p.id, p.name, t.name AS team, p.points
FROM players p JOIN teams t ON t.id = p.team_id
ORDER BY p.points DESC, p.id
LIMIT 10
