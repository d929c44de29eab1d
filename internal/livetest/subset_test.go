package livetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// subsets has clients that follow a table without its rows, and ask for some of
// them again and again while a writer goes on.
var subsets = scenario{name: "subsets", schema: items("parts"), run: func(t *testing.T, w *world) {
	b := newBook(t, w.db)
	const bound = "id <> 13"
	open := func(o following) *follower {
		o.changes = true
		o.params = map[string]any{"table": "parts", "where": bound}
		f := w.follow(t, nil, o)
		f.until("the beginning", func() bool { return f.upToDate > 0 })
		return f
	}
	all := []*follower{open(following{}), open(following{offset: "now"}), open(following{sse: true}), open(following{offset: "now", sse: true})}
	for i, f := range all {
		f.mu.Lock()
		if len(f.rows) > 0 {
			t.Errorf("follower %d has rows that it did not ask for: %s", i, f.state())
		}
		f.mu.Unlock()
	}

	// While the writer goes on, each client asks for another range.
	loaded := []string{}
	for i := range 12 {
		low, method := 1+100*i, []string{"GET", "POST"}[i%2]
		params := map[string]any{"where": "id >= $1 AND id < $2", "params": map[string]string{"1": fmt.Sprint(low), "2": fmt.Sprint(low + 100)}, "method": method}
		loaded = append(loaded, fmt.Sprintf("id >= %d AND id < %d", low, low+100))
		done := make(chan error, len(all))
		for _, f := range all {
			go func() {
				_, err := w.node.call(t, map[string]any{"do": "subset", "stream": f.name, "params": params})
				done <- err
			}()
		}
		for range 4 {
			step(b, w.rng, "parts")
		}
		for range all {
			if err := <-done; err != nil {
				t.Fatalf("requestSnapshot: %v", err)
			}
		}
		step(b, w.rng, "parts")
	}
	known := b.read("SELECT * FROM parts WHERE " + bound)
	inLoaded := b.read("SELECT * FROM parts WHERE " + bound + " AND (" + strings.Join(loaded, " OR ") + ")")
	for i, f := range all {
		f.until("what it has loaded", func() bool {
			have := slices.Collect(maps.Values(f.rows))
			return contains(known, have) && contains(have, inLoaded)
		})
		f.judge()
		if f.refetch > 0 {
			t.Errorf("follower %d began anew", i)
		}
	}

	// In peace, what is asked for is what SQL says, in its order.
	for i, c := range []struct {
		params map[string]any
		sql    string
	}{
		{map[string]any{"orderBy": "n DESC NULLS LAST, id", "limit": 7, "offset": 3}, "ORDER BY n DESC NULLS LAST, id LIMIT 7 OFFSET 3"},
		{map[string]any{"orderBy": "name, id DESC", "limit": 5, "where": "n > $1 OR n IS NULL", "params": map[string]string{"1": "70"}}, "AND (n > 70 OR n IS NULL) ORDER BY name, id DESC LIMIT 5"},
		{map[string]any{
			"whereExpr": map[string]any{"type": "func", "name": "eq", "args": []any{map[string]any{"type": "ref", "column": "n"}, map[string]any{"type": "val", "paramIndex": 1}}},
			"params":    map[string]any{"1": 42}, "orderByExpr": []any{map[string]any{"column": "id", "direction": "desc", "nulls": "last"}},
		}, "AND n = 42 ORDER BY id DESC"},
		{map[string]any{"where": "true OR true"}, ""},
	} {
		c.params["method"] = []string{"GET", "POST"}[i%2]
		answer, err := w.node.call(t, map[string]any{"do": "subset", "stream": all[i%2].name, "params": c.params})
		if err != nil {
			t.Fatalf("%v: %v", c.params, err)
		}
		var subset struct {
			Metadata struct {
				XMin, XMax string
				Lsn        string `json:"database_lsn"`
			}
			Data []message
		}
		if err := json.Unmarshal(answer, &subset); err != nil {
			t.Fatal(err)
		}
		got, want := rows(subset.Data), b.read("SELECT * FROM parts WHERE "+bound+" "+c.sql)
		inOrder := strings.Contains(c.sql, "ORDER BY")
		if inOrder && fmt.Sprint(got) != fmt.Sprint(want) || stateOf(slices.Values(got)) != stateOf(slices.Values(want)) {
			t.Errorf("%v:\n%v\nwant\n%v", c.params, got, want)
		}
		if subset.Metadata.XMin == "" || subset.Metadata.XMax == "" || subset.Metadata.Lsn == "" {
			t.Errorf("%v: the snapshot is not told: %+v", c.params, subset.Metadata)
		}
	}
	for _, orderBy := range []string{"id; DROP TABLE parts", "(SELECT 1)", "nothing", "id, pg_sleep(1)"} {
		params := map[string]any{"orderBy": orderBy, "limit": 1}
		if answer, err := w.node.call(t, map[string]any{"do": "subset", "stream": all[0].name, "params": params}); err == nil {
			t.Errorf("order by %q is answered: %.200s", orderBy, answer)
		}
	}
}}

// contains says whether all rows of some are among rows.
func contains(rows, some []map[string]any) bool {
	has := map[string]bool{}
	for _, r := range rows {
		has[fmt.Sprint(r)] = true
	}
	return !slices.ContainsFunc(some, func(r map[string]any) bool { return !has[fmt.Sprint(r)] })
}
