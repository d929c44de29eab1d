package query

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// distinct is SELECT DISTINCT over joined tables, of columns of the last of them.
func (g *shop) distinct() string {
	type step struct{ table, column, to string }
	steps := map[string][]step{
		"org":    {{"usr", "org_id", "id"}, {"proj", "org_id", "id"}, {"usr", "id", "owner"}},
		"usr":    {{"org", "id", "org_id"}, {"task", "usr_id", "id"}, {"member", "usr_id", "id"}},
		"proj":   {{"org", "id", "org_id"}, {"usr", "id", "owner"}, {"task", "proj_id", "id"}},
		"member": {{"proj", "id", "proj_id"}, {"usr", "id", "usr_id"}},
		"task":   {{"proj", "id", "proj_id"}, {"usr", "id", "usr_id"}, {"task", "id", "parent"}},
	}
	table := g.choose("usr", "proj", "member", "task", "task")
	from, last := table+" t0", "t0"
	cols := g.columnsOf("t0", table)
	var link string
	for i := range 1 + g.rnd.IntN(3) {
		s := steps[table][g.rnd.IntN(len(steps[table]))]
		alias := fmt.Sprintf("t%d", i+1)
		link = last + "." + s.to
		from += " JOIN " + s.table + " " + alias + " ON " + alias + "." + s.column + " = " + link
		if s.column != "id" && s.table != "member" {
			link = ""
		}
		table, last = s.table, alias
		cols = append(cols, g.columnsOf(alias, table)...)
	}
	end := g.columnsOf(last, table)
	var out []string
	for range 1 + g.rnd.IntN(2) {
		if c := g.pick(end); c.typ != "jsonb" && c.typ != "text[]" && c.typ != "numeric" {
			out = append(out, c.String())
		}
	}
	if link != "" && g.one(2) || len(out) == 0 {
		out = append(out, map[bool]string{true: link, false: end[0].String()}[link != ""])
	}
	for i := range out {
		out[i] += fmt.Sprintf(" AS c%d", i)
	}
	sql := "SELECT DISTINCT " + strings.Join(out, ", ") + " FROM " + from
	var where []string
	for range g.rnd.IntN(3) {
		where = append(where, g.filter(cols))
	}
	if g.one(4) {
		where = append(where, cols[0].String()+" = "+g.param("id"))
	}
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return sql
}

// ofMembers is a page of the rows that belong to some rows of another table.
func (g *shop) ofMembers() string {
	who := g.choose("SELECT m.usr_id FROM member m WHERE m.proj_id = "+g.param("id"), "SELECT u.id FROM usr u WHERE u.org_id = "+g.param("id"),
		"SELECT p.owner FROM proj p WHERE p.org_id = "+g.param("id")+" AND p.prio > 0",
		"SELECT m.usr_id FROM proj p JOIN member m ON m.proj_id = p.id WHERE p.org_id = "+g.param("id"))
	where := g.choose(" WHERE t.usr_id IN ("+who+")", " WHERE EXISTS (SELECT FROM ("+who+") w (id) WHERE w.id = t.usr_id)", ", ("+who+") w (id) WHERE w.id = t.usr_id")
	if g.one(2) {
		where += " AND " + g.filter(g.columnsOf("t", "task"))
	}
	return "SELECT t.id, t.usr_id, t.prio, t.state FROM task t" + where + " ORDER BY t.prio" + g.choose("", " DESC") + ", t.id, t.usr_id LIMIT " +
		g.choose("1", "2", "2", "3", g.param("int")) + g.choose("", "", " OFFSET 1")
}

// inTwoWays is a page whose rows others lead to both themselves and through a
// third table.
func (g *shop) inTwoWays() string {
	who := g.choose("SELECT m.usr_id, p.id FROM member m JOIN proj p ON p.id = m.proj_id WHERE m.role IN ('a', 'b', "+g.param("text")+")",
		"SELECT m.usr_id, x.owner FROM member m, proj x WHERE x.id = m.proj_id AND m.role = "+g.param("text"),
		"SELECT u.id, p.id FROM usr u JOIN proj p ON p.owner = u.org_id WHERE u.active = "+g.param("bool"))
	return "SELECT t.id, t.usr_id, t.prio, t.state FROM task t JOIN (" + who + ") w (usr_id, proj_id) ON t.usr_id = w.usr_id AND t.proj_id = w.proj_id ORDER BY t.prio" +
		g.choose("", " DESC") + ", t.id LIMIT 9"
}

// asked wants to know of the rows of a table no more than which values there are.
func (g *shop) asked() string {
	g.aliases++
	where := ""
	if !g.one(3) {
		where = " AND " + g.filter(g.columnsOf("t", "task"))
	}
	switch g.rnd.IntN(6) {
	case 0:
		return "SELECT DISTINCT " + g.choose("t.state", "t.usr_id", "t.proj_id, t.state", "t.prio") + " FROM task t WHERE " + strings.TrimPrefix(where+" AND true", " AND ")
	case 1:
		return "SELECT p.id, p.owner FROM proj p WHERE p.org_id = " + g.param("id") + " AND p.owner " + g.choose("", "NOT ") + "IN (SELECT t.usr_id FROM task t WHERE true" + where + ")"
	case 2:
		return "SELECT u.id FROM usr u WHERE u.org_id = " + g.param("id") + " AND EXISTS (SELECT FROM task t WHERE true" + where + ")"
	}
	with := g.choose("t.proj_id = p.id", "t.proj_id = p.id", "t.usr_id = p.owner", "t.proj_id = p.id AND t.usr_id = p.owner")
	exists := g.choose("", "NOT ") + "EXISTS (SELECT FROM task t WHERE " + with + where + ")"
	if g.one(2) {
		return "SELECT p.id, " + exists + " AS e FROM proj p WHERE p.org_id = " + g.param("id")
	}
	return "SELECT p.id, p.state FROM proj p WHERE p.org_id = " + g.param("id") + " AND " + exists
}

// inTurn is a page that several tables order one after the other.
func (g *shop) inTurn() string {
	sql := "SELECT p.id, t.id AS task, t.usr_id, u.name, m.role FROM proj p JOIN task t ON t.proj_id = p.id " + g.choose("", "LEFT ") + "JOIN usr u ON u.id = t.usr_id" +
		g.choose(" LEFT JOIN member m ON m.usr_id = u.id AND m.proj_id = p.id", " LEFT JOIN member m ON m.usr_id = t.usr_id") +
		" WHERE p.org_id " + g.choose("= "+g.param("id"), "IN (1, 2, "+g.param("id")+")", "> 0")
	if g.one(3) {
		sql += " AND " + g.filter(g.columnsOf("t", "task"))
	}
	return sql + " ORDER BY p.made" + g.choose("", " DESC") + ", p.id, t.prio" + g.choose("", " DESC") + ", t.id, m.proj_id LIMIT " + g.choose("1", "2", "3", g.param("int"))
}

// Chains spare more where they lead to all that there is.
func TestRefineChains(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, shopSchema+`
		INSERT INTO usr (id, org_id) VALUES (1, 1), (2, 1), (3, 2), (4, 9);
		INSERT INTO org (id, region) VALUES (1, 'a'), (2, 'b'), (3, 'c');
		INSERT INTO task (id, usr_id, prio) VALUES (1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 1, 2), (5, 4, 1)`)
	conn := settled(t, db)
	e, problems := endpointOf(t, conn, `SELECT DISTINCT u.org_id, o.region FROM task t JOIN usr u ON u.id = t.usr_id JOIN org o ON o.id = u.org_id
		WHERE t.prio = :prio::int`)
	if e == nil {
		t.Fatal(problems)
	}
	b, err := e.Bind(nil, url.Values{"prio": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ change, task, usr, org, keys string }{
		// One user's org is none, so that it could be made.
		{"", "-", "org_id", "keys", "keys"},
		// All orgs that users are of are shown.
		{"DELETE FROM usr WHERE id = 4", "", "org_id", "keys", ""},
		// A user of an org that is not shown.
		{"INSERT INTO usr (id, org_id) VALUES (5, 3)", "-", "org_id", "keys", "keys"},
		// All orgs are shown.
		{"INSERT INTO task (id, usr_id, prio) VALUES (6, 5, 1)", "", "", "", "keys"},
		{"INSERT INTO org (id) VALUES (8)", "", "org_id", "keys", ""},
		{"INSERT INTO usr (id, org_id) SELECT g, 1 FROM generate_series(10, 1009) g", "-", "org_id", "keys", "keys"},
	} {
		if c.change != "" {
			db.Exec(t, c.change)
		}
		deps, _, _ := refined(t, conn, b)
		by := map[string]match.Dependency{}
		for _, d := range deps {
			by[strings.TrimPrefix(d.Reads.Name, "public.")] = d
		}
		of := func(table string) string {
			w := by[table].Witnesses
			if w == nil {
				return "-"
			}
			return strings.Join(columnNames(w.For), ", ")
		}
		keys := func(table string) string {
			if len(by[table].Tests) > 0 {
				return "keys"
			}
			return ""
		}
		if of("task") != c.task || of("usr") != c.usr || keys("org") != c.org || keys("usr") != c.keys {
			t.Errorf("after %q: witnesses for %q and %q, org has %q and usr %q", c.change, of("task"), of("usr"), keys("org"), keys("usr"))
		}
	}
}
