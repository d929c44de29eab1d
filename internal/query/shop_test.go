package query

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
)

const shopSchema = `
	CREATE PUBLICATION tidemark FOR ALL TABLES;
	CREATE TABLE org (id int PRIMARY KEY, region text, score int, owner int);
	CREATE TABLE usr (id int PRIMARY KEY, org_id int, name text, active bool, meta jsonb, tags text[]);
	CREATE TABLE proj (id int PRIMARY KEY, org_id int, owner int, state text, prio int NOT NULL, made date NOT NULL);
	CREATE TABLE member (proj_id int, usr_id int, role text, PRIMARY KEY (proj_id, usr_id));
	CREATE TABLE task (id int PRIMARY KEY, proj_id int, parent int, usr_id int, state text, prio int NOT NULL, n numeric, title text);
	CREATE VIEW v_active AS SELECT id, org_id, name FROM usr WHERE active;
	CREATE VIEW v_task AS SELECT t.id, t.proj_id, t.usr_id, t.state, t.prio, p.org_id, p.state AS proj_state
		FROM task t JOIN proj p ON p.id = t.proj_id;
	CREATE VIEW v_open AS SELECT proj_id, usr_id, count(*)::int AS prio FROM task WHERE state <> 'b' GROUP BY proj_id, usr_id;
	ALTER TABLE org REPLICA IDENTITY FULL; ALTER TABLE usr REPLICA IDENTITY FULL; ALTER TABLE proj REPLICA IDENTITY FULL;
	ALTER TABLE member REPLICA IDENTITY FULL; ALTER TABLE task REPLICA IDENTITY FULL;` + attemptsFunction

// attemptsFunction makes changes one after the other, and returns of each the
// row before and after it and the answer. They are undone unless they are to be
// kept.
const attemptsFunction = `
	CREATE FUNCTION attempts(changes text[], query text, args text[], reader text, keep boolean) RETURNS TABLE (old text[], new text[], answer text) LANGUAGE plpgsql AS $$
	DECLARE
		c text;
		olds jsonb[] := '{}'; news jsonb[] := '{}'; answers text[] := '{}';
		o text[]; n text[]; a text;
	BEGIN
		BEGIN
			FOREACH c IN ARRAY changes LOOP
				PERFORM set_config('role', 'none', true);
				o := NULL; n := NULL;
				BEGIN
					EXECUTE c INTO o, n;
				EXCEPTION WHEN unique_violation OR not_null_violation THEN
				END;
				PERFORM set_config('role', reader, true);
				EXECUTE query INTO a USING args;
				olds := olds || coalesce(to_jsonb(o), 'null'); news := news || coalesce(to_jsonb(n), 'null'); answers := answers || a;
			END LOOP;
			IF NOT keep THEN
				RAISE EXCEPTION USING errcode = 'UNDO1';
			END IF;
		EXCEPTION WHEN sqlstate 'UNDO1' THEN
		END;
		FOR i IN 1 .. cardinality(answers) LOOP
			old := CASE WHEN olds[i] <> 'null' THEN ARRAY(SELECT e FROM jsonb_array_elements_text(olds[i]) e) END;
			new := CASE WHEN news[i] <> 'null' THEN ARRAY(SELECT e FROM jsonb_array_elements_text(news[i]) e) END;
			answer := answers[i];
			RETURN NEXT;
		END LOOP;
	END $$;`

var shopColumns = map[string][]named{
	"org":      {{"id", "id"}, {"region", "text"}, {"score", "int"}, {"owner", "id"}},
	"usr":      {{"id", "id"}, {"org_id", "id"}, {"name", "text"}, {"active", "bool"}, {"meta", "jsonb"}, {"tags", "text[]"}},
	"proj":     {{"id", "id"}, {"org_id", "id"}, {"owner", "id"}, {"state", "text"}, {"prio", "int"}, {"made", "date"}},
	"member":   {{"proj_id", "id"}, {"usr_id", "id"}, {"role", "text"}},
	"task":     {{"id", "id"}, {"proj_id", "id"}, {"parent", "id"}, {"usr_id", "id"}, {"state", "text"}, {"prio", "int"}, {"n", "numeric"}, {"title", "text"}},
	"v_active": {{"id", "id"}, {"org_id", "id"}, {"name", "text"}},
	"v_task":   {{"id", "id"}, {"proj_id", "id"}, {"usr_id", "id"}, {"state", "text"}, {"prio", "int"}, {"org_id", "id"}, {"proj_state", "text"}},
	"v_open":   {{"proj_id", "id"}, {"usr_id", "id"}, {"prio", "int"}},
}

var (
	shopTables = []string{"org", "usr", "proj", "member", "task"}
	shopViews  = []string{"v_active", "v_task", "v_open"}
)

// meaning is what the ids in a column are of, so that joins make sense.
func meaning(table, column string) string {
	switch column {
	case "org_id":
		return "org"
	case "usr_id", "owner":
		return "usr"
	case "proj_id":
		return "proj"
	case "parent":
		return "task"
	case "id":
		return strings.TrimPrefix(map[string]string{"v_active": "usr", "v_task": "task"}[table]+" "+table, " ")
	}
	return ""
}

var chosenParam = regexp.MustCompile(`[^:]:(id|int|text)\b`)

// chosen are queries in which a rule that is almost right goes wrong.
var chosen = []string{
	// Two mentions of a WITH query are of two rows.
	`WITH w AS (SELECT proj_id, usr_id FROM task WHERE prio >= :int) SELECT x.id, m.role FROM proj x
		JOIN w w1 ON w1.proj_id = x.id JOIN w w2 ON w2.usr_id = x.owner JOIN member m ON m.proj_id = x.id`,
	// What is missing makes a row.
	`SELECT p.id, t.id FROM proj p LEFT JOIN task t ON t.proj_id = p.id WHERE p.org_id = :id AND t.state IS NULL`,
	`SELECT p.id FROM proj p LEFT JOIN task t ON t.proj_id = p.id AND t.prio = :int WHERE t.id IS NULL AND p.org_id = :id`,
	`SELECT p.id, u.name FROM proj p LEFT JOIN (task t JOIN usr u ON u.id = t.usr_id) ON t.proj_id = p.id WHERE p.org_id = :id`,
	`SELECT p.id, u.name FROM proj p LEFT JOIN task t ON t.proj_id = p.id LEFT JOIN usr u ON u.id = t.usr_id AND u.active WHERE p.org_id = :id`,
	`SELECT p.id FROM proj p LEFT JOIN task t ON t.proj_id = p.id AND EXISTS (SELECT 1 FROM usr u WHERE u.id = t.usr_id AND u.active)
		WHERE p.org_id = :id AND t.state IS NULL`,
	// An aggregate has a row where there is none.
	`SELECT p.id FROM proj p WHERE EXISTS (SELECT count(*) FROM task t WHERE t.proj_id = p.id AND t.usr_id = :id)`,
	`SELECT p.id FROM proj p WHERE p.org_id = :id AND NOT EXISTS (SELECT 1 FROM task t WHERE t.proj_id = p.id GROUP BY t.state HAVING count(*) > 1)`,
	// Nulls of a list count for NOT IN.
	`SELECT p.id FROM proj p WHERE p.org_id = :id AND p.owner NOT IN (SELECT t.usr_id FROM task t WHERE t.prio = :int)`,
	`SELECT p.id, p.owner IN (SELECT t.usr_id FROM task t WHERE t.prio = :int) FROM proj p WHERE p.org_id = :id`,
	// A limit is before the condition around it.
	`SELECT p.id FROM proj p WHERE p.id IN (SELECT t.proj_id FROM task t WHERE t.prio = :int ORDER BY t.id LIMIT 1)`,
	`SELECT p.id, l.id FROM proj p CROSS JOIN LATERAL (SELECT t.id, t.usr_id FROM task t WHERE t.proj_id = p.id ORDER BY t.prio, t.id LIMIT 1) l
		JOIN usr u ON u.id = l.usr_id WHERE u.org_id = :id`,
	`SELECT p.id, t.id FROM proj p JOIN (SELECT DISTINCT ON (proj_id) id, proj_id, usr_id FROM task ORDER BY proj_id, prio, id) t ON t.usr_id = p.owner WHERE p.id = :id`,
	`SELECT p.id FROM proj p WHERE p.org_id = :id AND p.org_id IN (SELECT t.proj_id FROM task t ORDER BY t.prio, t.id LIMIT 1)`,
	`SELECT p.id FROM proj p WHERE p.org_id = :id AND :id IN (SELECT t.proj_id FROM task t ORDER BY t.prio, t.id LIMIT 1)`,
	// Chains.
	`SELECT c.id FROM task a JOIN task b ON b.parent = a.id JOIN task c ON c.parent = b.id WHERE a.proj_id = :id`,
	`SELECT o.region, u.name, p.state, t.title FROM org o JOIN usr u ON u.org_id = o.id JOIN proj p ON p.owner = u.id LEFT JOIN task t ON t.proj_id = p.id WHERE o.region = :text`,
	`SELECT p.id FROM proj p WHERE EXISTS (SELECT 1 FROM member m WHERE m.proj_id = p.id AND m.role = :text AND EXISTS (SELECT 1 FROM usr u WHERE u.id = m.usr_id AND u.active))`,
	`SELECT p.id FROM proj p WHERE p.id IN (SELECT m.proj_id FROM member m WHERE m.usr_id IN (SELECT u.id FROM usr u WHERE u.org_id = :id))`,
	// Pages.
	`SELECT t.id, u.name FROM task t JOIN usr u ON u.id = t.usr_id ORDER BY t.prio DESC, t.id LIMIT 2 -- ordered`,
	`SELECT t.id, t.prio, (SELECT u.name FROM usr u WHERE u.id = t.usr_id) FROM task t ORDER BY t.prio, t.id LIMIT 2 -- ordered`,
	`SELECT p.made, p.id, u.name, o.region FROM proj p JOIN usr u ON u.id = p.owner LEFT JOIN org o ON o.id = u.org_id ORDER BY p.made DESC, p.id DESC LIMIT 2 OFFSET 1 -- ordered`,
	// Witnesses.
	`SELECT DISTINCT state FROM task WHERE proj_id = :id AND prio > 0`,
	// The key of a witness may be among what is only tested.
	`SELECT p.id, EXISTS (SELECT 1 FROM task t WHERE t.proj_id = p.id AND t.id > 1) FROM proj p WHERE p.org_id = :id`,
	`SELECT DISTINCT state FROM task WHERE id > 1`,
	`SELECT DISTINCT proj_id, state FROM task WHERE usr_id = :id ORDER BY state`,
	`SELECT p.id, EXISTS (SELECT 1 FROM task t WHERE t.proj_id = p.id AND t.state = :text) FROM proj p WHERE p.org_id = :id`,
	`SELECT p.id FROM proj p WHERE p.org_id = :id AND NOT EXISTS (SELECT 1 FROM task t WHERE t.proj_id = p.id AND t.usr_id = p.owner)`,
	`SELECT p.id FROM proj p WHERE p.org_id = :id AND EXISTS (SELECT 1 FROM task WHERE state = :text)`,
	`SELECT count(*) FROM usr u WHERE u.org_id = :id AND u.id IN (SELECT t.usr_id FROM task t WHERE t.proj_id = u.org_id)`,
	// Chains.
	`SELECT DISTINCT p.id, p.state FROM task t JOIN proj p ON p.id = t.proj_id WHERE t.usr_id = :id`,
	`SELECT DISTINCT p.id, p.state FROM task t JOIN proj p ON p.id = t.proj_id WHERE t.prio < 3`,
	`SELECT DISTINCT t.proj_id, p.owner FROM usr u JOIN task t ON t.usr_id = u.id JOIN proj p ON p.id = t.proj_id WHERE u.org_id = :id AND t.state = 'a' AND p.prio > 0`,
	`SELECT DISTINCT o.id, o.region FROM usr u JOIN task t ON t.usr_id = u.id AND t.id > 1 JOIN org o ON o.id = u.org_id WHERE t.prio <> :int`,
	`SELECT DISTINCT u.org_id, o.score FROM org o JOIN usr u ON u.org_id = o.id JOIN member m ON m.usr_id = u.id WHERE o.region = 'a' ORDER BY 2, 1`,
	`SELECT DISTINCT o.region FROM org o JOIN usr u ON u.org_id = o.id JOIN member m ON m.usr_id = u.id WHERE o.score = :int`,
	`SELECT DISTINCT o.region FROM org o JOIN usr u ON u.org_id = o.score WHERE u.name = :text`,
	`SELECT DISTINCT p.id FROM proj p JOIN task t ON t.proj_id = p.id AND t.usr_id = p.owner JOIN member m ON m.proj_id = p.id`,
	// All but one, of one that a parameter names.
	`SELECT b.id, b.state FROM task a JOIN task b ON b.proj_id = a.proj_id AND b.id <> a.id WHERE a.id = :id`,
	`SELECT b.id, b.state FROM task a, task b WHERE a.id = :id AND NOT (a.id = b.usr_id)`,
	`SELECT a.state, b.id, b.title FROM task a LEFT JOIN task b ON b.usr_id <> a.id WHERE a.id = :id`,
	`SELECT a.state, b.id FROM task a RIGHT JOIN task b ON b.id <> a.id AND a.id = :id`,
	`SELECT a.id, b.state FROM task a LEFT JOIN task b ON b.id <> a.id AND b.id = :id`,
	`SELECT a.id, b.id FROM task a JOIN task b ON b.id <> a.id WHERE a.id IN (:id, :int) AND b.prio = :int`,
	`SELECT u.name, t.id FROM usr u JOIN task t ON t.usr_id <> u.id WHERE u.id = :id`,
	`SELECT u.name, t.id FROM usr u JOIN task t ON t.usr_id <> u.id WHERE u.id IN (:id, :int)`,
	`SELECT u.name, t.id FROM usr u LEFT JOIN task t ON u.id <> t.usr_id WHERE u.id = :id`,
	`SELECT u.name, t.id FROM usr u RIGHT JOIN task t ON t.usr_id <> u.id AND u.id = :id`,
	`SELECT u.name, t.id FROM usr u RIGHT JOIN task t ON u.id <> t.usr_id AND u.id = :id`,
	`SELECT u.id, t.id FROM usr u LEFT JOIN task t ON u.org_id <> t.usr_id AND t.usr_id = :id`,
	`SELECT u.name, t.id FROM usr u JOIN task t ON NOT (u.id <> t.usr_id) WHERE u.id = :id AND t.prio <> :int`,
	`SELECT u.name, t.id FROM usr u JOIN task t ON u.id <> t.usr_id OR t.prio = :int WHERE u.id = :id`,
	`SELECT t.id FROM task t WHERE t.id = :id AND NOT EXISTS (SELECT 1 FROM task o WHERE o.proj_id = t.proj_id AND o.id <> t.id)`,
	`SELECT p.id FROM proj p WHERE p.owner <> (SELECT u.id FROM usr u WHERE u.id = :id)`,
	`SELECT p.id, t.id FROM proj p CROSS JOIN LATERAL (SELECT * FROM task t WHERE t.proj_id = p.id AND t.usr_id <> p.owner ORDER BY t.prio, t.id LIMIT 2) t WHERE p.owner = :id`,
	`WITH w AS (SELECT id, parent, state FROM task) SELECT y.id, y.state FROM w x JOIN w y ON y.id <> x.id WHERE x.id = :id`,
	`SELECT t.id FROM task t WHERE t.id <> t.parent AND t.parent = :id`,
	`SELECT p.id, t.id FROM proj p LEFT JOIN task t ON t.proj_id = p.id WHERE p.org_id = :id AND t.state <> :text`,
	// A null in a list, and none at all.
	`SELECT id FROM task WHERE usr_id NOT IN (1, NULL, :id)`,
	`SELECT id FROM task WHERE NOT (usr_id NOT IN (1, NULL, :id))`,
	`SELECT id FROM task WHERE NOT (usr_id IN (1, :id)) OR prio = :int`,
	`SELECT id FROM task WHERE usr_id <> :id OR usr_id = :int`,
	`SELECT id FROM task WHERE usr_id <> ANY (ARRAY[1, :id])`,
	`SELECT id FROM task WHERE usr_id = :id OR NOT (usr_id IN (2, :int))`,
	`SELECT id FROM task WHERE (usr_id NOT IN (1, :id) OR :int IS NULL) AND state <> ALL ('{}')`,
	`SELECT p.id, t.id FROM proj p LEFT JOIN task t ON t.proj_id = p.id WHERE p.org_id = :id AND t.state <> ALL ('{}')`,
	// Nested pages.
	`SELECT m.usr_id, l.id, l.n FROM member m CROSS JOIN LATERAL (SELECT t.id, t.n FROM task t WHERE t.usr_id = m.usr_id AND t.state = 'a'
		ORDER BY t.n DESC, t.id DESC LIMIT 2) l WHERE m.proj_id = :id`,
	`SELECT u.id, l.id, l.prio FROM usr u LEFT JOIN LATERAL (SELECT * FROM task t WHERE t.usr_id = u.id AND (t.state = :text OR t.prio > :int)
		ORDER BY t.prio, t.n NULLS FIRST, t.id LIMIT :int OFFSET :int) l ON l.prio < 3 WHERE u.org_id = :id`,
	`SELECT p.id, (SELECT t.title FROM task t WHERE t.proj_id = p.id AND p.owner = t.usr_id ORDER BY t.n DESC NULLS LAST, t.id LIMIT 1) FROM proj p WHERE p.org_id = :id`,
	`SELECT p.id, p.made, ARRAY(SELECT t.id FROM task t WHERE t.proj_id = p.id AND t.prio <> :int ORDER BY t.prio DESC, t.id LIMIT 2) FROM proj p ORDER BY p.made, p.id LIMIT 2 -- ordered`,
	`SELECT p.id FROM proj p WHERE p.owner = (SELECT t.usr_id FROM task t WHERE t.proj_id = p.id ORDER BY t.prio, t.id OFFSET 1 LIMIT 1)`,
	`SELECT x.id, x.n, y.id FROM (SELECT * FROM task WHERE state = :text ORDER BY n DESC, id LIMIT 2) x LEFT JOIN (SELECT * FROM task ORDER BY prio, id LIMIT :int) y ON y.parent = x.id`,
	`SELECT o.id, l.id, l.t FROM org o CROSS JOIN LATERAL (SELECT p.id, (SELECT max(t.prio) FROM task t WHERE t.proj_id = p.id) AS t FROM proj p WHERE p.org_id = o.id
		ORDER BY p.made DESC, p.id LIMIT 2) l WHERE o.region = :text`,
	`SELECT u.id FROM usr u WHERE u.org_id IN (SELECT p.org_id FROM proj p WHERE p.owner = u.id ORDER BY p.prio DESC, p.id LIMIT 2) AND u.active`,
	`SELECT u.id, l.id FROM usr u CROSS JOIN LATERAL (SELECT t.id FROM task t WHERE t.usr_id = u.id AND t.prio < u.org_id ORDER BY t.prio, t.id LIMIT 1) l WHERE u.org_id = :id`,
	`SELECT u.id, l.id FROM usr u CROSS JOIN LATERAL (SELECT t.id FROM task t WHERE t.usr_id = u.id AND t.title || '' <> 'a' ORDER BY t.prio, t.id LIMIT 1) l WHERE u.org_id = :id`,
	`SELECT m.proj_id, l.id FROM member m JOIN proj p ON p.id = m.proj_id CROSS JOIN LATERAL (SELECT t.id FROM task t WHERE t.usr_id = m.usr_id AND t.proj_id = p.id ORDER BY t.prio, t.id LIMIT 1) l WHERE m.role = :text`,
	// Parts.
	`SELECT id FROM usr WHERE meta->>'k' = :text`,
	`SELECT u.id, t.title FROM usr u JOIN task t ON t.state = u.meta->>'k' WHERE u.org_id = :id`,
	`SELECT id FROM usr WHERE meta->>'k' IS NULL AND org_id = :id`,
	`SELECT id FROM usr WHERE NOT (:text = ANY (tags)) AND org_id = :id`,
	`SELECT id, active FROM usr WHERE :text = ANY (tags)`,
	`SELECT id FROM usr WHERE name LIKE :text || '%' AND NOT (name LIKE 'ab%')`,
	`SELECT id FROM usr WHERE (active OR org_id = :id) AND active IS NOT FALSE`,
}

// shop makes queries such as applications have: from a row that a parameter
// names along foreign keys.
type shop struct {
	rnd     *rand.Rand
	params  map[string]string
	aliases int
	shapes  []string
	ordered bool
	most    int // ids of tasks, of which there are few otherwise
}

func (g *shop) choose(options ...string) string { return options[g.rnd.IntN(len(options))] }

func (g *shop) one(in int) bool { return g.rnd.IntN(in) == 0 }

func (g *shop) shape(s string) string {
	g.shapes = append(g.shapes, strings.TrimSpace(s))
	return s
}

func (g *shop) value(typ string) string {
	switch typ {
	case "id":
		return g.choose("1", "1", "2", "2", "3", "4")
	case "int":
		return g.choose("0", "1", "2", "3")
	case "text":
		return g.choose("a", "a", "ab", "b", "a%")
	case "bool":
		return g.choose("true", "false")
	case "numeric":
		return g.choose("0", "1", "1.50", "2")
	case "date":
		return g.choose("2026-01-01", "2026-01-02", "2026-01-03")
	case "jsonb":
		return g.choose(`{"k": "a"}`, `{"k": "ab", "m": {"x": "b"}}`, `{"m": {"x": "a"}, "k": 1}`, `{"k": null}`, `[]`, `"a"`)
	case "text[]":
		return g.choose("{}", "{a}", "{a,b}", "{ab,NULL}", "{b,a}")
	}
	panic(typ)
}

func sqlType(typ string) string {
	if typ == "id" {
		return "int"
	}
	return typ
}

func (g *shop) literal(typ string) string { return "'" + g.value(typ) + "'::" + sqlType(typ) }

func (g *shop) param(typ string) string {
	if g.params == nil {
		g.params = map[string]string{}
	}
	name := fmt.Sprintf("p%d_%s", g.rnd.IntN(2), strings.Trim(typ, "[]"))
	if strings.HasSuffix(typ, "[]") {
		name += "s"
	}
	g.params[name] = typ
	return ":" + name + "::" + sqlType(typ)
}

func (g *shop) scalar(typ string) string {
	if g.one(2) {
		return g.param(typ)
	}
	return g.literal(typ)
}

// row is a new row of a table.
func (g *shop) row(table string) string {
	var out []string
	for i, c := range shopColumns[table] {
		v := g.literal(c.typ)
		if c.name == "id" && table == "task" && g.most > 0 {
			v = fmt.Sprint(1 + g.rnd.IntN(g.most))
		}
		if needed := i == 0 || c.name == "prio" || c.name == "made" || table == "member"; !needed && g.one(8) {
			v = "NULL"
		}
		out = append(out, v)
	}
	return strings.Join(out, ", ")
}

func textArray(alias string, columns []named) string {
	var out []string
	for _, c := range columns {
		out = append(out, alias+"."+c.name+"::text")
	}
	return "ARRAY[" + strings.Join(out, ", ") + "]"
}

func (g *shop) alias() string {
	g.aliases++
	return fmt.Sprintf("t%d", g.aliases)
}

// col is a column of an alias in scope.
type col struct{ alias, table, name, typ string }

func (c col) String() string { return c.alias + "." + c.name }

func (g *shop) columnsOf(alias, table string) []col {
	var out []col
	for _, c := range shopColumns[table] {
		out = append(out, col{alias, table, c.name, c.typ})
	}
	return out
}

func (g *shop) pick(cols []col) col { return cols[g.rnd.IntN(len(cols))] }

// table picks a table or a view.
func (g *shop) table() string {
	if g.one(5) {
		return shopViews[g.rnd.IntN(len(shopViews))]
	}
	return shopTables[g.rnd.IntN(len(shopTables))]
}

// link finds a table with a column that means what a column in scope does.
func (g *shop) link(cols []col) (table, alias, on string) {
	for range 20 {
		c := g.pick(cols)
		if c.typ != "id" {
			continue
		}
		m := meaning(c.table, c.name)
		table = g.table()
		var fit []string
		for _, n := range shopColumns[table] {
			if n.typ == "id" && meaning(table, n.name) == m {
				fit = append(fit, n.name)
			}
		}
		if len(fit) > 0 {
			alias = g.alias()
			on = alias + "." + fit[g.rnd.IntN(len(fit))] + " = " + c.String()
			if g.one(3) {
				on = c.String() + " = " + alias + "." + strings.TrimPrefix(strings.SplitN(on, " = ", 2)[0], alias+".")
			}
			return table, alias, on
		}
	}
	alias = g.alias()
	return "proj", alias, alias + ".id = " + g.literal("id")
}

// filter is a condition on one column.
func (g *shop) filter(cols []col) string {
	c := g.pick(cols)
	x := c.String()
	switch c.typ {
	case "bool":
		return g.choose("", "NOT ") + x + g.choose("", "", " IS TRUE", " IS NOT TRUE", " IS FALSE", " IS NOT FALSE", " IS NULL")
	case "jsonb":
		get := g.choose("->>'k'", "->'m'->>'x'", " #>> '{m,x}'")
		switch g.rnd.IntN(4) {
		case 0:
			return x + get + " IS NOT NULL"
		case 1:
			return x + get + " IN (" + g.scalar("text") + ", " + g.scalar("text") + ")"
		}
		return x + get + " = " + g.scalar("text")
	case "text[]":
		switch g.rnd.IntN(4) {
		case 0:
			return x + " @> " + g.scalar("text[]")
		case 1:
			return x + " && " + g.scalar("text[]")
		}
		return g.scalar("text") + " = ANY (" + x + ")"
	case "text":
		switch g.rnd.IntN(5) {
		case 0:
			return x + " LIKE " + g.choose("'a%'", "'ab'", "'a_'", "'%b'", g.param("text")+" || '%'", "'a\\%%'")
		case 1:
			return x + g.choose(" <> ", " <= ", " > ") + g.scalar("text") + g.choose("", ` COLLATE "C"`)
		case 2:
			return g.choose("starts_with("+x+", "+g.scalar("text")+")", x+" ^@ "+g.scalar("text"))
		}
	}
	switch g.rnd.IntN(9) {
	case 0:
		return x + g.choose(" IN (", " IN (", " NOT IN (") + g.scalar(c.typ) + ", " + g.scalar(c.typ) + ")"
	case 1:
		if c.typ != "text" {
			return x + g.choose(" < ", " >= ", " > ", " <= ") + g.scalar(c.typ)
		}
	case 2:
		return x + g.choose(" IS NULL", " IS NOT NULL")
	case 3:
		return x + " <> " + g.scalar(c.typ)
	case 4:
		p := g.param(c.typ)
		return "(" + p + " IS NULL OR " + x + " = " + p + ")"
	case 5:
		return "(" + g.filter(cols) + " OR " + g.filter(cols) + ")"
	case 6:
		if c.typ != "text" {
			return x + " BETWEEN " + g.scalar(c.typ) + " AND " + g.scalar(c.typ)
		}
	}
	return x + " = " + g.scalar(c.typ)
}

// other says that a row is not one that is in scope already.
func (g *shop) other(cols, beside []col) string {
	for range 10 {
		if x, y := g.pick(cols), g.pick(beside); x.typ == "id" && y.typ == "id" {
			return g.choose(x.String()+" <> "+y.String(), "NOT ("+y.String()+" = "+x.String()+")")
		}
	}
	return "true"
}

// nested is a condition with a query about a linked table.
func (g *shop) nested(cols []col, depth int) string {
	table, alias, on := g.link(cols)
	inner := g.columnsOf(alias, table)
	from := table + " " + alias
	where := ""
	if g.one(2) {
		where += " AND " + g.filter(inner)
	}
	if g.one(4) {
		where += " AND " + g.other(inner, cols)
	}
	if depth > 0 && g.one(3) {
		t, al, jo := g.link(inner)
		from += g.choose(" JOIN ", " LEFT JOIN ") + t + " " + al + " ON " + jo
		inner = append(inner, g.columnsOf(al, t)...)
	}
	if depth > 0 && g.one(4) {
		where += " AND " + g.nested(append(append([]col(nil), inner...), cols...), depth-1)
	}
	sides := strings.SplitN(on, " = ", 2)
	mine, theirs := sides[0], sides[1]
	if !strings.HasPrefix(mine, alias+".") {
		mine, theirs = theirs, mine
	}
	if !strings.Contains(theirs, ".") {
		return "EXISTS (SELECT FROM " + from + " WHERE " + on + where + ")"
	}
	where = strings.TrimPrefix(where, " AND ")
	if where == "" {
		where = "true"
	}
	sub := "SELECT " + mine + " FROM " + from + " WHERE " + where
	switch g.rnd.IntN(9) {
	case 0, 1:
		g.shape("in")
		return theirs + " IN (" + sub + ")"
	case 2:
		g.shape("not in")
		return theirs + " NOT IN (" + sub + ")"
	case 3:
		g.shape("= select")
		return theirs + " = (" + sub + " ORDER BY 1 LIMIT 1)"
	case 4:
		g.shape("= any array")
		return theirs + " = ANY (ARRAY(" + sub + "))"
	case 5, 6:
		g.shape("not exists")
		return "NOT EXISTS (SELECT 1 FROM " + from + " WHERE " + on + " AND " + where + ")"
	}
	g.shape("exists")
	return "EXISTS (SELECT 1 FROM " + from + " WHERE " + on + " AND " + where + g.choose("", "", " LIMIT 1") + ")"
}

// body is FROM and WHERE, and the columns in scope.
func (g *shop) body() (from, where string, cols []col) {
	table, alias := g.table(), g.alias()
	from, cols = table+" "+alias, g.columnsOf(alias, table)
	root := cols
	for range []int{0, 1, 1, 2, 2, 3}[g.rnd.IntN(6)] {
		t, al, on := g.link(cols)
		more := g.columnsOf(al, t)
		kind := g.rnd.IntN(8)
		if kind != 2 && g.one(4) {
			on += " AND " + g.other(more, root)
		}
		switch kind {
		case 0, 1:
			g.shape("left join")
			if g.one(3) {
				on += " AND " + g.filter(append(append([]col(nil), cols...), more...))
			}
			from += " LEFT JOIN " + t + " " + al + " ON " + on
		case 2:
			if g.one(3) {
				g.shape("full join")
				from += " FULL JOIN " + t + " " + al + " ON " + on
				break
			}
			g.shape("right join")
			from += " RIGHT JOIN " + t + " " + al + " ON " + on
		case 3:
			g.shape("lateral")
			inner := "SELECT * FROM " + t + " " + al + " WHERE " + on
			if g.one(2) {
				inner += " AND " + g.filter(more)
			}
			if g.one(2) {
				inner += g.cut(more)
			}
			from += g.choose(" CROSS JOIN LATERAL (", ", LATERAL (") + inner + ") " + al
		default:
			g.shape("join")
			from += " JOIN " + t + " " + al + " ON " + on
		}
		cols = append(append([]col(nil), cols...), more...)
	}
	var conds []string
	if !g.one(6) {
		c := g.pick(root)
		if g.one(2) || c.typ == "jsonb" || c.typ == "text[]" {
			c = root[0]
		}
		conds = append(conds, c.String()+" = "+g.scalar(c.typ))
	}
	for range []int{0, 0, 1, 1, 2}[g.rnd.IntN(5)] {
		conds = append(conds, g.filter(cols))
	}
	if g.one(3) {
		conds = append(conds, g.nested(cols, 1))
	}
	if len(conds) > 0 {
		where = " WHERE " + strings.Join(conds, " AND ")
	}
	// A comma binds less than JOIN, and LATERAL behind it may not look across.
	return strings.ReplaceAll(from, ", LATERAL", " CROSS JOIN LATERAL"), where, cols
}

// statement is a whole query; all but its ties are decided.
func (g *shop) statement() string {
	g.shapes, g.params, g.aliases, g.ordered = nil, nil, 0, false
	from, where, cols := g.body()
	var out []string
	add := func(c col) { out = append(out, c.String()+" AS c"+fmt.Sprint(len(out))) }
	for range 1 + g.rnd.IntN(3) {
		add(g.pick(cols))
	}
	all := func() string {
		n := make([]string, len(out))
		for i := range n {
			n[i] = fmt.Sprint(i + 1)
		}
		return strings.Join(n, ", ")
	}
	switch g.rnd.IntN(12) {
	case 0, 1, 2:
		g.shape("page")
		first := g.pick(cols)
		if g.one(2) {
			first = cols[0]
		}
		if first.typ != "jsonb" {
			g.ordered = true
			return "SELECT " + strings.Join(out, ", ") + ", " + first.String() + " FROM " + from + where + " ORDER BY " + first.String() +
				g.choose("", " DESC", " NULLS FIRST", " DESC NULLS LAST") + ", " + all() + " LIMIT " + g.choose("1", "2", "3", g.param("int")) + g.choose("", "", " OFFSET 1")
		}
	case 3:
		g.shape("distinct")
		return "SELECT DISTINCT " + strings.Join(out, ", ") + " FROM " + from + where
	case 4:
		g.shape("group by")
		c := g.pick(cols)
		return "SELECT " + c.String() + ", count(*), min(" + g.number(cols) + ") FROM " + from + where + " GROUP BY 1" + g.choose("", " HAVING count(*) > 1")
	case 5:
		g.shape("aggregate")
		return "SELECT count(*), sum(" + g.number(cols) + ") FROM " + from + where
	case 6:
		g.shape("union")
		c := g.pick(cols)
		f2, w2, c2 := g.body()
		return "SELECT " + c.String() + "::text FROM " + from + where + g.choose(" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT ") +
			"SELECT " + g.pick(c2).String() + "::text FROM " + f2 + w2
	case 7, 8:
		g.shape("with")
		t, al := "w", g.alias()
		names := []named{}
		out = nil
		for i := range 3 {
			c := g.pick(cols)
			names = append(names, named{fmt.Sprintf("%s_%d", c.name, i), c.typ})
			out = append(out, c.String()+" AS "+names[i].name)
		}
		inner := "SELECT " + strings.Join(out, ", ") + " FROM " + from + where
		if g.one(4) {
			inner += " ORDER BY " + all() + " LIMIT 2"
		}
		var scope []col
		for i, n := range names {
			c := col{al, "", n.name, n.typ}
			if i < len(names) {
				c.table = "?" + strings.SplitN(n.name, "_", 2)[0]
			}
			scope = append(scope, c)
		}
		sql := "WITH w AS (" + inner + ") SELECT * FROM " + t + " " + al
		for _, c := range scope {
			if c.typ == "id" && g.one(2) {
				table := g.choose("proj", "usr", "org", "task")
				other := g.alias()
				sql += g.choose(" JOIN ", " LEFT JOIN ") + table + " " + other + " ON " + other + ".id = " + c.String()
				switch g.rnd.IntN(3) {
				case 0:
					sql += " JOIN w w2 ON w2." + c.name + " = " + other + ".id"
				case 1:
					for _, d := range scope {
						if d.typ == "id" && d.name != c.name && table != "org" {
							second := map[string]string{"proj": "owner", "usr": "org_id", "task": "usr_id"}[table]
							sql += " JOIN w w2 ON w2." + d.name + " = " + other + "." + second
							if g.one(2) {
								last := g.alias()
								sql += " JOIN member " + last + " ON " + last + ".proj_id = " + other + ".id"
							}
							break
						}
					}
				}
				break
			}
		}
		if g.one(2) {
			sql += " WHERE " + g.filter(scope)
		}
		return sql
	case 9:
		g.shape("scalar")
		t, al, on := g.link(cols)
		inner := g.columnsOf(al, t)
		if g.one(2) {
			g.shape("page of its own")
			return "SELECT " + strings.Join(out, ", ") + ", " + g.nestedPage(t, al, on, inner) + " FROM " + from + where
		}
		return "SELECT " + strings.Join(out, ", ") + ", (SELECT " + g.choose("count(*)", "max("+g.number(inner)+")") + " FROM " + t + " " + al + " WHERE " + on + ") FROM " + from + where
	case 10:
		g.shape("subquery")
		return "SELECT x.c0 FROM (SELECT " + strings.Join(out, ", ") + " FROM " + from + where + ") x"
	}
	return "SELECT " + strings.Join(out, ", ") + " FROM " + from + where
}

func (g *shop) number(cols []col) string {
	for range 10 {
		if c := g.pick(cols); c.typ == "id" || c.typ == "int" {
			return c.String()
		}
	}
	return "1"
}
