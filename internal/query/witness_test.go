package query

import (
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// TestWitnessKey holds that what identifies a witness counts even where the
// query itself only tests it: a row that has another key is another row.
func TestWitnessKey(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopSchema)
	conn := settled(t, db)
	for _, sql := range []string{
		`SELECT p.id, EXISTS (SELECT 1 FROM task t WHERE t.proj_id = p.id AND t.id > 1) FROM proj p WHERE p.org_id = :id::int`,
		`SELECT DISTINCT state FROM task WHERE id > 1 AND prio = :id::int`,
	} {
		e, problems := endpointOf(t, conn, sql)
		if e == nil {
			t.Fatal(problems)
		}
		found := false
		for _, s := range e.keys {
			if s.witness == nil {
				continue
			}
			found = true
			for _, k := range s.witness.key {
				r := e.Reads[s.witness.ref]
				if slices.Contains(r.Tested, k.Column) || r.Columns != nil && !slices.Contains(r.Columns, k.Column) {
					t.Errorf("%s: %s identifies a witness and counts for less than its value", sql, k.Column)
				}
			}
		}
		if !found {
			t.Errorf("%s: no witnesses", sql)
		}
	}
}
