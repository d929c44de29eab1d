package oracle

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

func itoa(i int) string { return strconv.Itoa(i) }

type column struct {
	name string
	kind *kind
	null bool
	refs *table // the table whose ids it holds, or nil
}

// table is a table that is written to.
type table struct {
	name   string
	cols   []*column
	key    []*column // the first of cols
	rooted string    // how it is partitioned: "", "LIST" or "RANGE"
	leaves []string
	child  *table // inherits from this one
	rls    bool   // the reading role sees a part only
}

// relation is anything that a query can name in FROM.
type relation struct {
	name string
	cols []*column
	key  []*column // order by them is total
}

type schema struct {
	tables []*table
	// ddl makes the schema, in the database that is followed and in the replica.
	ddl []string
	// read are the relations that endpoints choose from.
	read []*relation
	// functions that endpoints may call.
	functions []*function
	views     []*view
	restrict  bool // tidemark reads as a role without privileges
	links     []*link
	names     int
	seeds     []string // SQL of the first rows
}

// function is an SQL function of one argument.
type function struct {
	name string
	arg  *column
	from *table
	set  *table // what it returns rows of, or nil: one number
}

// view selects from a table what a condition lets through. A change of the view
// changes the condition.
type view struct {
	name string
	from *table
	cols []*column
}

func (v *view) definition(r *rand.Rand) string {
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT %s FROM %s x WHERE %s",
		v.name, columnNames(v.cols, "x."), v.from.name, constantCondition(r, v.from, "x"))
}

const moodType = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')"

// role is what tidemark reads as when policies are to hold.
const role = "oracle_reader"

func randomSchema(r *rand.Rand) *schema {
	s := &schema{restrict: chance(r, 40)}
	s.ddl = append(s.ddl, moodType)
	for range 2 + r.IntN(3) {
		s.addTable(r)
	}
	if t := s.tables[0]; t.rooted == "" && len(t.key) == 1 && t.key[0].kind == kindKey && chance(r, 60) {
		s.addChild(r, t)
	}
	for _, t := range s.tables {
		s.read = append(s.read, &relation{t.name, t.cols, t.key})
		if len(t.leaves) > 0 && chance(r, 50) {
			s.read = append(s.read, &relation{pick(r, t.leaves), t.cols, t.key})
		}
		if t.child != nil && chance(r, 50) {
			s.read = append(s.read, &relation{"ONLY " + t.name, t.cols, t.key})
		}
	}
	for range 1 + r.IntN(2) {
		t := pick(r, s.tables)
		v := &view{name: fmt.Sprintf("v%d", len(s.views)), from: t, cols: t.cols}
		s.views = append(s.views, v)
		s.ddl = append(s.ddl, v.definition(r))
		s.read = append(s.read, &relation{v.name, v.cols, t.key})
	}
	for range 1 + r.IntN(2) {
		s.addFunction(r)
	}
	if s.restrict {
		s.addPolicies(r)
	}
	return s
}

func (s *schema) column(r *rand.Rand, k *kind, null bool) *column {
	s.names++
	return &column{name: fmt.Sprintf("%c%d", k.name[0], s.names), kind: k, null: null}
}

func (s *schema) addTable(r *rand.Rand) {
	t := &table{name: fmt.Sprintf("t%d", len(s.tables))}
	switch n := r.IntN(10); {
	case len(s.tables) == 0 || n < 5:
		t.key = []*column{s.column(r, kindKey, false)}
	case n < 6:
		t.key = []*column{s.column(r, kindBigKey, false)}
	case n < 7:
		t.key = []*column{s.column(r, kindUUIDKey, false)}
	case n < 8:
		t.key = []*column{
			s.column(r, &kind{name: "half", sql: "int", values: numbers(1, 5), alike: true, ordered: true, summed: true}, false),
			s.column(r, &kind{name: "other", sql: "text", values: []string{"a", "b", "c"}, alike: true, ordered: true}, false),
		}
	default:
		t.key = []*column{s.column(r, kindKey, false), s.column(r, kindPart, false)}
		t.rooted = pick(r, []string{"LIST", "RANGE"})
	}
	t.cols = append(t.cols, t.key...)
	for _, o := range s.tables {
		if len(o.key) == 1 && o.key[0].kind == kindKey && chance(r, 70) {
			c := s.column(r, kindRef, chance(r, 50))
			c.refs = o
			t.cols = append(t.cols, c)
		}
	}
	for range 3 + r.IntN(4) {
		t.cols = append(t.cols, s.column(r, pick(r, kinds), chance(r, 60)))
	}
	s.tables = append(s.tables, t)
	s.create(r, t)
}

func (s *schema) create(r *rand.Rand, t *table) {
	var defs []string
	for _, c := range t.cols {
		d := c.name + " " + c.kind.sql
		if !c.null {
			d += " NOT NULL"
		}
		defs = append(defs, d)
	}
	defs = append(defs, fmt.Sprintf("PRIMARY KEY (%s)", columnNames(t.key, "")))
	sql := fmt.Sprintf("CREATE TABLE %s (%s)", t.name, strings.Join(defs, ", "))
	physical := []string{t.name}
	if t.rooted != "" {
		sql += fmt.Sprintf(" PARTITION BY %s (%s)", t.rooted, t.key[1].name)
		t.leaves = []string{t.name + "_p0", t.name + "_p1", t.name + "_rest"}
		physical = t.leaves
	}
	s.ddl = append(s.ddl, sql)
	if t.rooted != "" {
		bounds := []string{"FOR VALUES IN (0)", "FOR VALUES IN (1, 2)", "DEFAULT"}
		if t.rooted == "RANGE" {
			bounds = []string{"FOR VALUES FROM (MINVALUE) TO (1)", "FOR VALUES FROM (1) TO (3)", "DEFAULT"}
		}
		for i, leaf := range t.leaves {
			s.ddl = append(s.ddl, fmt.Sprintf("CREATE TABLE %s PARTITION OF %s %s", leaf, t.name, bounds[i]))
		}
	}
	for _, c := range t.cols {
		if c.kind == kindLong {
			for _, name := range physical {
				s.ddl = append(s.ddl, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET STORAGE EXTERNAL", name, c.name))
			}
		}
		if chance(r, 30) && c.kind.ordered {
			s.ddl = append(s.ddl, fmt.Sprintf("CREATE INDEX ON %s (%s)", t.name, c.name))
		}
	}
	for _, name := range physical {
		switch n := r.IntN(10); {
		case n < 6:
			s.ddl = append(s.ddl, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", name))
		case n < 8:
			s.ddl = append(s.ddl, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s_pkey", name, name))
		}
	}
}

func (s *schema) addChild(r *rand.Rand, parent *table) {
	t := &table{name: parent.name + "_child"}
	key := *parent.key[0]
	key.kind = &kind{name: "childkey", sql: "int", values: numbers(101, 100+keys/2), alike: true, ordered: true}
	t.key = []*column{&key}
	t.cols = append(t.key[:1:1], parent.cols[1:]...)
	extra := s.column(r, pick(r, kinds), true)
	t.cols = append(t.cols, extra)
	s.tables = append(s.tables, t)
	parent.child = t
	s.ddl = append(s.ddl,
		fmt.Sprintf("CREATE TABLE %s (%s %s, PRIMARY KEY (%s)) INHERITS (%s)", t.name, extra.name, extra.kind.sql, key.name, parent.name),
		fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", t.name))
}

func (s *schema) addFunction(r *rand.Rand) {
	t := pick(r, s.tables)
	var c *column
	for c == nil || !c.kind.comparable() || c.kind == kindLong || strings.Contains(c.kind.sql, "(") {
		c = pick(r, t.cols)
	}
	f := &function{name: fmt.Sprintf("f%d", len(s.functions)), arg: c, from: t}
	if chance(r, 50) {
		f.set = t
	}
	s.functions = append(s.functions, f)
	s.ddl = append(s.ddl, f.definition(r))
}

// definition makes or replaces the function, with a random further condition.
func (f *function) definition(r *rand.Rand) string {
	returns, out := "bigint", "count(*)"
	if f.set != nil {
		returns, out = "SETOF "+f.set.name, "*"
	}
	body := fmt.Sprintf("SELECT %s FROM %s x WHERE %s = asked AND %s", out, f.from.name, f.arg.name, constantCondition(r, f.from, "x"))
	sql := fmt.Sprintf("CREATE OR REPLACE FUNCTION %s(asked %s) RETURNS %s LANGUAGE sql STABLE ", f.name, f.arg.kind.typ(), returns)
	if chance(r, 50) {
		return sql + "BEGIN ATOMIC " + body + "; END"
	}
	return sql + "AS " + quote(body)
}

// addPolicies restricts what the reading role sees. The writers are superusers
// and see everything.
func (s *schema) addPolicies(r *rand.Rand) {
	s.ddl = append(s.ddl,
		fmt.Sprintf("DO $$ BEGIN CREATE ROLE %s LOGIN REPLICATION; EXCEPTION WHEN duplicate_object THEN NULL; END $$", role),
		"GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
	for _, t := range s.tables {
		// Partitions and children have policies of their own when named directly.
		if t.rooted != "" || t.child != nil || strings.HasSuffix(t.name, "_child") || chance(r, 40) {
			continue
		}
		t.rls = true
		using := constantCondition(r, t, t.name)
		if o := s.tables[0]; o != t && len(o.key) == 1 && chance(r, 40) {
			using = fmt.Sprintf("EXISTS (SELECT FROM %s o WHERE %s) OR %s", o.name, constantCondition(r, o, "o"), using)
		}
		s.ddl = append(s.ddl,
			fmt.Sprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", t.name),
			fmt.Sprintf("CREATE POLICY p ON %s FOR SELECT TO %s USING (%s)", t.name, role, using))
	}
}

// constantCondition returns a condition without parameters.
func constantCondition(r *rand.Rand, t *table, alias string) string {
	c := pick(r, t.cols)
	ref := alias + "." + c.name
	switch {
	case c.null && chance(r, 30):
		return ref + pick(r, []string{" IS NULL", " IS NOT NULL"})
	case c.kind.sql == "bool":
		return ref + pick(r, []string{"", " IS NOT TRUE"})
	case !c.kind.comparable() || c.kind == kindLong:
		return "true"
	case chance(r, 50):
		return ref + " IS DISTINCT FROM " + c.kind.literal(r)
	}
	return fmt.Sprintf("(%s = %s OR %s = %s)", ref, c.kind.literal(r), ref, c.kind.literal(r))
}

func columnNames(cols []*column, prefix string) string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = prefix + c.name
	}
	return strings.Join(names, ", ")
}
