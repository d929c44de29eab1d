package query

import (
	"strings"
	"testing"
)

// The clauses are marked with ^: FROM, and what limits the rows.
func TestOutline(t *testing.T) {
	for _, marked := range []string{
		`SELECT a ^FROM t`,
		`SELECT a ^FROM t ^LIMIT 1`,
		`select a ^from t where b order by c ^offset 1 limit 2`,
		`SELECT a ^FROM t ^FETCH FIRST ROW ONLY`,
		`WITH w AS (SELECT 1 FROM x LIMIT 1) SELECT extract(year FROM d), a IS NOT DISTINCT FROM b ^FROM w`,
		`SELECT t.limit, t.from, 1 AS from, "from", U&"limit" ^FROM t /* FROM LIMIT */ -- LIMIT` + "\n^LIMIT 3",
		`SELECT 'FROM', $$ FROM $$, E'\' FROM ', a[1] ^FROM t WHERE x IN (SELECT y FROM z LIMIT 1)`,
		`SELECT (SELECT 1 FROM a) ^FROM (SELECT 2 FROM b OFFSET 1) s`,
		`SELECT 1`,
		`SELECT 1 ^LIMIT 1`,
	} {
		parts := strings.Split(marked, "^")
		sql := strings.Join(parts, "")
		want := clauses{from: -1, tail: -1}
		at := 0
		for i, p := range parts[:len(parts)-1] {
			at += len(p)
			if word := strings.ToLower(parts[i+1]); strings.HasPrefix(word, "from") {
				want.from = at
			} else {
				want.tail = at
			}
		}
		if got, ok := outline(sql); !ok || got != want {
			t.Errorf("%s: got %+v, want %+v", marked, got, want)
		}
	}
	for _, sql := range []string{
		`VALUES (1)`, `TABLE t`, `(SELECT a FROM t)`, `SELECT a FROM t UNION SELECT b FROM u`, `SELECT a FROM t EXCEPT (SELECT 1)`,
		`WITH w AS (SELECT 1) VALUES (2)`, `SELECT 'a FROM t`,
	} {
		if c, ok := outline(sql); ok {
			t.Errorf("%s has the clauses %+v", sql, c)
		}
	}
}

func FuzzBatched(f *testing.F) {
	f.Add("SELECT $1, '$1', \"$1\", $$ $1 $$, a$1 -- $1\n/* $1 */ FROM t LIMIT $2")
	f.Fuzz(func(t *testing.T, sql string) {
		outline(sql)
		many := batched(sql, []string{"integer", "text"})
		// What is no parameter stays as it is.
		if many != "" && !strings.Contains(sql, "$") && !strings.Contains(many, sql) {
			t.Errorf("%q became %q", sql, many)
		}
	})
}
