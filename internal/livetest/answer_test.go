package livetest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestAnswers follows endpoints with the npm client.
func TestAnswers(t *testing.T) {
	play(t, "", pages, plainStream)
}

// league is a schema with two tables, under a prefix.
func league(p string) string {
	return fmt.Sprintf(`
	CREATE TABLE %[1]steams (id int PRIMARY KEY, name text NOT NULL);
	CREATE TABLE %[1]splayers (id int PRIMARY KEY, team_id int NOT NULL, name text NOT NULL, points numeric(8,2), seen timestamptz NOT NULL DEFAULT '2026-01-02 03:04:05.6+00');
	INSERT INTO %[1]steams SELECT i, 'team ' || i FROM generate_series(1, 4) i;
	INSERT INTO %[1]splayers SELECT i, 1 + i %% 4, 'name ' || i %% 9, i * 17 %% 50 FROM generate_series(1, 60) i;`, p)
}

// pages follows answers of every form while a writer goes on.
var pages = scenario{
	name: "pages", schema: league(""),
	endpoints: map[string]string{
		"page.sql":   "-- GET /v1/players\n-- key: id\nSELECT id, name, points, seen FROM players ORDER BY points DESC NULLS LAST, id LIMIT least(:limit::int, 100)\n",
		"team.sql":   "-- GET /v1/teams/{id}/players\nSELECT p.id, p.name, t.name AS team, p.points FROM players p JOIN teams t ON t.id = p.team_id WHERE t.id = :id ORDER BY p.points DESC, p.id LIMIT 8\n",
		"totals.sql": "-- GET /v1/totals\n-- key: id\nSELECT t.id, t.name, count(p.id) AS n, sum(p.points) AS total, max(p.seen) AS seen FROM teams t LEFT JOIN players p ON p.team_id = t.id GROUP BY t.id ORDER BY t.id\n",
		"names.sql":  "-- GET /v1/names\nSELECT name FROM players ORDER BY name LIMIT 25\n",
		"player.sql": "-- GET /v1/players/{id}\n-- result: one\nSELECT id, name, points > 20 AS good FROM players WHERE id = :id\n",
	},
	run: func(t *testing.T, w *world) {
		b := newBook(t, w.db)
		var all []*follower
		page := func(limit int) string {
			return fmt.Sprintf("SELECT id, name, points, seen FROM players ORDER BY points DESC NULLS LAST, id LIMIT %d", limit)
		}
		team := func(id int) string {
			return fmt.Sprintf("SELECT p.id, p.name, t.name AS team, p.points FROM players p JOIN teams t ON t.id = p.team_id WHERE t.id = %d ORDER BY p.points DESC, p.id LIMIT 8", id)
		}
		for i, c := range []struct{ path, sql string }{
			{"/v1/players?limit=10", page(10)},
			{"/v1/players?limit=10", page(10)},
			{"/v1/players?limit=3", page(3)},
			{"/v1/teams/1/players", team(1)},
			{"/v1/teams/2/players", team(2)},
			{"/v1/teams/77/players", team(77)},
			{"/v1/totals", "SELECT t.id, t.name, count(p.id) AS n, sum(p.points) AS total, max(p.seen) AS seen FROM teams t LEFT JOIN players p ON p.team_id = t.id GROUP BY t.id"},
			{"/v1/names", "SELECT name FROM players ORDER BY name LIMIT 25"},
			{"/v1/players/7", "SELECT id, name, points > 20 AS good FROM players WHERE id = 7"},
		} {
			path, query, _ := strings.Cut(c.path, "?")
			o := following{path: path, sse: i%2 == 1}
			if _, limit, ok := strings.Cut(query, "="); ok {
				o.params = map[string]any{"limit": limit}
			}
			all = append(all, w.follow(t, b.view(c.sql), o))
		}
		for i := range 40 {
			var sql strings.Builder
			for range 1 + w.rng.IntN(3) {
				id := 1 + w.rng.IntN(70)
				switch w.rng.IntN(7) {
				case 0, 1:
					fmt.Fprintf(&sql, "UPDATE players SET points = %d.5, seen = seen + '1.25 s' WHERE id = %d;", w.rng.IntN(60), id)
				case 2:
					fmt.Fprintf(&sql, "DELETE FROM players WHERE id = %d;", id)
				case 3:
					fmt.Fprintf(&sql, "INSERT INTO players VALUES (%d, %d, 'name %d', %d) ON CONFLICT DO NOTHING;", id, 1+w.rng.IntN(4), w.rng.IntN(9), w.rng.IntN(60))
				case 4:
					fmt.Fprintf(&sql, "UPDATE players SET team_id = 1 + team_id %% 4, points = NULLIF(points, 5) WHERE id BETWEEN %d AND %d;", id, id+2)
				case 5:
					fmt.Fprintf(&sql, "UPDATE teams SET name = name || '.' WHERE id = %d;", 1+w.rng.IntN(4))
				case 6:
					fmt.Fprintf(&sql, "UPDATE players SET id = 1 + (SELECT max(id) FROM players) WHERE id = %d;", id)
				}
			}
			b.do("%s", sql.String())
			if i%10 == 9 {
				for _, f := range all {
					f.settle()
				}
			}
		}
		b.do("TRUNCATE players")
		b.do("INSERT INTO players VALUES (7, 1, 'seven', 21), (8, 2, 'eight', NULL)")
		for _, f := range all {
			f.settle()
			f.mu.Lock()
			for _, r := range f.requests {
				if r.Status != http.StatusOK {
					t.Errorf("%s was answered with %d", r.URL, r.Status)
				}
			}
			f.mu.Unlock()
		}
		if all[0].handle != all[1].handle {
			t.Errorf("one answer has two handles, %s and %s", all[0].handle, all[1].handle)
		}
	},
}

// plainStream reads an endpoint as curl -N does.
var plainStream = scenario{
	name: "an event stream", schema: league("s_"),
	endpoints: map[string]string{"s_page.sql": "-- GET /v1/s_players\n-- key: id\nSELECT id, points FROM s_players ORDER BY points DESC, id LIMIT 5\n"},
	run: func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url("/v1/s_players"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if ct := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(ct, "text/event-stream") {
			t.Fatalf("%s, %s", res.Status, ct)
		}
		lines := bufio.NewScanner(res.Body)
		until := func(what string) (seen []string) {
			t.Helper()
			for lines.Scan() {
				if l := lines.Text(); strings.HasPrefix(l, "data:") {
					seen = append(seen, l)
					if strings.Contains(l, what) {
						return seen
					}
				}
			}
			t.Fatalf("%s did not come: %v\n%s", what, lines.Err(), strings.Join(seen, "\n"))
			return nil
		}
		first := until("up-to-date")
		if n := len(slices.DeleteFunc(first, func(l string) bool { return !strings.Contains(l, `"operation":"insert"`) })); n != 5 {
			t.Errorf("%d rows at the beginning", n)
		}
		w.db.Exec(t, "UPDATE s_players SET points = 99 WHERE id = 1")
		seen := strings.Join(until("up-to-date"), "\n")
		out, in := strings.Index(seen, `"operation":"delete"`), strings.Index(seen, `"operation":"insert"`)
		if out < 0 || in < out {
			t.Errorf("one row takes the place of another:\n%s", seen)
		}
	},
}
