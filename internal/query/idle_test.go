package query

import (
	"net/url"
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// A row with an idle value leads to nothing on the page itself. Where it leads
// to other tables as well, by which rows of the page are restricted in turn, it
// adds to their keys.
func TestIdleRowsLeadElsewhere(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopSchema+`
		INSERT INTO proj (id, org_id, owner, prio, made) VALUES (1, 1, 1, 1, '2026-01-01'), (2, 1, 1, 1, '2026-01-01');
		INSERT INTO member (proj_id, usr_id, role) VALUES (1, 1, 'a'), (1, 2, 'a');
		INSERT INTO usr (id, org_id) VALUES (1, 1), (2, 1), (3, 9);
		INSERT INTO task (id, proj_id, usr_id, prio) VALUES (1, 1, 1, 1)`)
	conn := settled(t, db)
	relations := map[string]*catalog.Relation{}
	for _, table := range shopTables {
		relations[table] = relationOf(t, conn, table)
	}
	for _, c := range []struct {
		sql, param     string
		tables, change []string
	}{
		{
			`SELECT t.id, p.state, m.role FROM member m JOIN proj p ON p.id = m.proj_id JOIN task t ON t.usr_id = m.usr_id AND t.proj_id = p.id
				WHERE m.role = :x::text ORDER BY t.prio, t.id LIMIT 3`, "a",
			[]string{"member", "task"},
			[]string{
				"INSERT INTO member VALUES (2, 2, 'a') RETURNING NULL::text[], " + textArray("member", shopColumns["member"]),
				"INSERT INTO task (id, proj_id, usr_id, prio) VALUES (2, 2, 2, 1) RETURNING NULL::text[], " + textArray("task", shopColumns["task"]),
			},
		},
	} {
		e, problems := endpointOf(t, conn, c.sql)
		if e == nil {
			t.Fatal(problems)
		}
		b, err := e.Bind(nil, url.Values{"x": {c.param}})
		if err != nil {
			t.Fatal(err)
		}
		deps, _, keys := refined(t, conn, b)
		query, args := answerQuery(b, true)
		results := attempts(t, conn, c.change, query, args, "none")
		touched := false
		ix := match.NewIndex[int]()
		ix.Add(new(match.Handle[int]), 1, deps)
		for i, r := range results[1:] {
			o := &refineOracle{relations: relations}
			change := o.changeOf(c.tables[i], r)
			touched = touched || match.Affects(deps, change)
			ix.Touch(change, func(int, *match.Reads) { touched = true })
		}
		if !touched && results[0].Answer != results[len(results)-1].Answer {
			t.Errorf("%s\n%s -> %s is not noticed\n%s\n%s", c.sql, results[0].Answer, results[len(results)-1].Answer, explained(b), showKeys(b, keys))
		}
		if !slices.ContainsFunc(results, func(r textsAttempted) bool { return r.Answer != results[0].Answer }) {
			t.Error("the answer does not change")
		}
	}
}
