package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// source is one alias of a query.
type source struct {
	alias string
	rel   *relation
	table *table
}

func (s *source) of(c *column) string { return s.alias + "." + c.name }

// composer makes the SQL of one cell of the grid.
type composer struct {
	*builder
	cell
	walk    []*source
	from    string   // from FROM to before WHERE
	with    string   // before SELECT
	where   []string // conjuncts
	order   []string // what makes the order total
	extra   []string // result columns that a wrap adds
	aliases int
}

// compose returns the endpoint of a cell, or nil where the schema has no place
// for it.
func compose(r *rand.Rand, s *schema, c cell, name string) *endpoint {
	e := &endpoint{name: name, cell: c}
	k := &composer{builder: &builder{r, s, e}, cell: c}
	for range 30 {
		if k.walk = k.hops(); k.walk != nil {
			break
		}
	}
	if k.walk == nil {
		return nil
	}
	k.join()
	k.filter()
	k.subqueries()
	e.sql = k.with + k.statement()
	if e.route == "" {
		e.route = "/" + name
	}
	if e.ask(r); len(e.asked) == 0 {
		return nil
	}
	return e
}

func (k *composer) next(t *table) *source {
	k.aliases++
	for _, rel := range k.s.read {
		if rel.name == t.name {
			return &source{alias: fmt.Sprintf("x%d", k.aliases), rel: rel, table: t}
		}
	}
	panic(t.name)
}

// hop returns the tables that one hop leads to from a table, each with the
// condition of the join.
func (k *composer) hop(kind byte, from *source) (to *source, on string) {
	var found []func() (*source, string)
	for _, l := range k.s.links {
		up := func() (*source, string) {
			o := k.next(l.to)
			return o, equal(from, l.by, o, l.to.key)
		}
		down := func() (*source, string) {
			o := k.next(l.from)
			return o, equal(o, l.by, from, l.to.key)
		}
		composite := len(l.by) > 1
		switch {
		case kind == 'u' && l.from == from.table && !l.self():
			found = append(found, up)
		case kind == 'd' && l.to == from.table && !l.self():
			found = append(found, down)
		case kind == 's' && l.self() && l.from == from.table:
			found = append(found, up, down)
		case kind == 'c' && composite && l.from == from.table:
			found = append(found, up)
		case kind == 'c' && composite && l.to == from.table:
			found = append(found, down)
		}
	}
	if kind == 'v' || kind == 'f' {
		for _, c := range from.table.cols {
			for _, t := range k.s.tables {
				for _, o := range t.cols {
					if !slices.Contains(t.key, o) && c.kind == o.kind && c.kind.comparable() && c.kind != kindLong {
						found = append(found, func() (*source, string) {
							to := k.next(t)
							return to, fmt.Sprintf("%s = %s", to.of(o), from.of(c))
						})
					}
				}
			}
		}
	}
	if len(found) == 0 {
		return nil, ""
	}
	return pick(k.Rand, found)()
}

func equal(a *source, x []*column, b *source, y []*column) string {
	var all []string
	for i := range x {
		all = append(all, fmt.Sprintf("%s = %s", a.of(x[i]), b.of(y[i])))
	}
	return strings.Join(all, " AND ")
}

// hops walks from a random table.
func (k *composer) hops() []*source {
	k.aliases, k.from = 0, ""
	t := pick(k.Rand, k.s.tables)
	walk := []*source{k.next(t)}
	for i, letter := range []byte(k.cell["join"]) {
		from := walk[len(walk)-1]
		to, on := k.hop(letter|0x20, from)
		if to == nil {
			return nil
		}
		word := " JOIN "
		switch {
		case letter == 'F':
			word = " FULL JOIN "
		case letter < 'a':
			word = " LEFT JOIN "
		}
		if i == len(k.cell["join"])-1 && k.cell["side"] == "on" && letter != 'F' {
			on += " AND (" + k.test(k.cell["filter"], to) + ")"
		}
		k.from += word + "\x00" + to.alias + "\x00 ON " + on
		walk = append(walk, to)
	}
	return walk
}

func (k *composer) near() *source { return k.walk[0] }
func (k *composer) far() *source  { return k.walk[len(k.walk)-1] }

// join finishes FROM: one of the aliases may be more than a table.
func (k *composer) join() {
	k.from = "FROM \x00" + k.near().alias + "\x00" + k.from
	special := pick(k.Rand, k.walk)
	for _, s := range k.walk {
		name := s.rel.name
		if s == special {
			name = k.wrapped(s)
		}
		k.from = strings.Replace(k.from, "\x00"+s.alias+"\x00", name+" "+s.alias, 1)
		for _, c := range s.table.key {
			k.order = append(k.order, s.of(c))
		}
	}
	switch k.cell["wrap"] {
	case "lateral":
		k.lateral()
	case "scalar":
		s, t := k.near(), k.child(k.near())
		k.extra = append(k.extra, fmt.Sprintf("(SELECT %s FROM %s z WHERE %s AND (%s)) AS n",
			pick(k.Rand, []string{"count(*)", "count(*)", "max(z." + t.table.key[0].name + "::text)"}), t.table.name, t.on(s, "z"), k.test("", &source{"z", t.rel, t.table})))
	}
	switch far := k.far(); k.cell["side"] {
	case "missing":
		k.where = append(k.where, far.of(far.table.key[0])+" IS NULL")
	case "present":
		k.where = append(k.where, far.of(far.table.key[0])+" IS NOT NULL")
	}
}

// wrapped returns what stands for a table in FROM.
func (k *composer) wrapped(s *source) string {
	inner := &source{"w", s.rel, s.table}
	rows := func() string {
		return fmt.Sprintf("SELECT w.* FROM %s w WHERE %s", s.table.name, k.test("", inner))
	}
	switch k.cell["wrap"] {
	case "view":
		for _, v := range k.s.views {
			if v.from == s.table {
				return v.name
			}
		}
	case "derived":
		return "(" + rows() + ")"
	case "cte":
		k.with = "WITH q AS (" + rows() + ") "
		return "q"
	case "materialized":
		k.with = "WITH q AS MATERIALIZED (" + rows() + ") "
		return "q"
	case "cte twice":
		k.with = "WITH q AS (" + rows() + ") "
		key := s.table.key[0]
		k.where = append(k.where, fmt.Sprintf("%s %sIN (SELECT q.%s FROM q WHERE %s)", s.of(key), pick(k.Rand, []string{"", "NOT "}), key.name,
			k.test("", &source{"q", s.rel, s.table})))
		return "q"
	}
	return s.rel.name
}

// related is a table with the condition under which its rows belong to another's.
type related struct {
	rel   *relation
	table *table
	on    func(of *source, alias string) string
}

// child picks a table whose rows belong to those of an alias.
func (k *composer) child(s *source) related {
	var found []related
	add := func(t *table, mine, theirs []*column) {
		o := k.next(t)
		found = append(found, related{o.rel, t, func(of *source, alias string) string {
			return equal(&source{alias: alias}, theirs, of, mine)
		}})
	}
	for _, l := range k.s.links {
		if l.to == s.table {
			add(l.from, l.to.key, l.by)
		}
		if l.from == s.table {
			add(l.to, l.by, l.to.key)
		}
	}
	return pick(k.Rand, found)
}

// lateral joins the first rows of a table to each row.
func (k *composer) lateral() {
	s, t := k.far(), k.child(k.far())
	inner := &source{"z", t.rel, t.table}
	key := columnNames(t.table.key, "z.")
	order := key
	if c := k.ordered(inner, false); c != nil {
		order = inner.of(c) + pick(k.Rand, []string{"", " DESC", " DESC NULLS LAST"}) + ", " + key
	}
	k.from += fmt.Sprintf(" CROSS JOIN LATERAL (SELECT z.* FROM %s z WHERE %s AND (%s) ORDER BY %s LIMIT %d) l",
		t.table.name, t.on(s, "z"), k.test("", inner), order, 1+k.IntN(2))
	for i, c := range t.table.cols {
		if i < len(t.table.key) {
			k.order = append(k.order, "l."+c.name)
		}
		if i < len(t.table.key) || chance(k.Rand, 30) {
			k.extra = append(k.extra, fmt.Sprintf("l.%s AS l%d", c.name, i))
		}
	}
}

// ordered picks a column to order by.
func (k *composer) ordered(s *source, text bool) *column {
	var found []*column
	for _, c := range s.table.cols[len(s.table.key):] {
		isText := c.kind.typ() == "text" || strings.HasPrefix(c.kind.sql, "varchar")
		if c.kind.ordered && (isText && text || !text && (c.kind == kindRank || chance(k.Rand, 30))) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return pick(k.Rand, found)
}

// filter adds the condition that most answers of the endpoint differ by.
func (k *composer) filter() {
	s := k.near()
	if k.cell["at"] == "far" {
		s = k.far()
	}
	if k.cell["result"] == "one" {
		// The first alias by its key, from the path.
		k.e.one = true
		near := k.near()
		k.e.route = "/" + k.e.name
		for _, c := range near.table.key {
			p := &param{name: "k_" + c.name, inPath: true, value: c.kind.asked}
			k.e.params = append(k.e.params, p)
			k.e.route += "/{" + p.name + "}"
			k.where = append(k.where, fmt.Sprintf("%s = :%s", near.of(c), p.name))
		}
	}
	if k.cell["side"] == "on" && !strings.HasSuffix(k.cell["join"], "F") || k.cell["filter"] == "none" {
		return
	}
	k.where = append(k.where, k.test(k.cell["filter"], s))
}

// subqueries adds conditions on rows of other tables.
func (k *composer) subqueries() {
	s := pick(k.Rand, []*source{k.near(), k.far()})
	sub := func(depth int) string { return k.exists(s, depth) }
	not := func(s string) string { return "NOT " + s }
	switch k.cell["sub"] {
	case "exists":
		k.where = append(k.where, sub(1))
	case "not exists":
		k.where = append(k.where, not(sub(1)))
	case "deep exists":
		k.where = append(k.where, sub(2))
	case "deep not exists":
		k.where = append(k.where, not(sub(2)))
	case "nested":
		k.where = append(k.where, k.nested(s))
	case "or exists":
		k.where = append(k.where, "("+sub(1)+" OR "+k.test("", s)+")")
	case "two":
		k.where = append(k.where, sub(1), pick(k.Rand, []string{"NOT ", ""})+sub(1))
	case "in":
		k.where = append(k.where, k.within(s, ""))
	case "not in":
		k.where = append(k.where, k.within(s, "NOT "))
	}
}

// exists asks for a row that belongs to one of an alias, through depth tables.
func (k *composer) exists(s *source, depth int) string {
	t := k.child(s)
	from, last := t.table.name+" y", &source{"y", t.rel, t.table}
	if depth > 1 {
		o := k.child(last)
		from += fmt.Sprintf(" JOIN %s yy ON %s", o.table.name, o.on(last, "yy"))
		last = &source{"yy", o.rel, o.table}
	}
	return fmt.Sprintf("EXISTS (SELECT %s FROM %s WHERE %s AND (%s))", pick(k.Rand, []string{"1", "", "*"}), from, t.on(s, "y"), k.test("", last))
}

// nested asks for a row for which there is, or is not, another.
func (k *composer) nested(s *source) string {
	t := k.child(s)
	y := &source{"y", t.rel, t.table}
	o := k.child(y)
	return fmt.Sprintf("%sEXISTS (SELECT FROM %s y WHERE %s AND %sEXISTS (SELECT FROM %s yy WHERE %s AND (%s)))",
		pick(k.Rand, []string{"", "NOT "}), t.table.name, t.on(s, "y"), pick(k.Rand, []string{"", "NOT "}), o.table.name, o.on(y, "yy"),
		k.test("", &source{"yy", o.rel, o.table}))
}

// within asks for a value among those of a subquery, which may hold NULL.
func (k *composer) within(s *source, not string) string {
	var found []*link
	for _, l := range k.s.links {
		if l.to == s.table && len(l.by) == 1 {
			found = append(found, l)
		}
	}
	if len(found) > 0 && chance(k.Rand, 60) {
		l := pick(k.Rand, found)
		y := &source{"y", k.next(l.from).rel, l.from}
		return fmt.Sprintf("%s %sIN (SELECT %s FROM %s y WHERE %s)", s.of(s.table.key[0]), not, y.of(l.by[0]), l.from.name, k.test("", y))
	}
	for range 50 {
		c, t := pick(k.Rand, s.table.cols), pick(k.Rand, k.s.tables)
		o := pick(k.Rand, t.cols)
		if c.kind == o.kind && c.kind.comparable() && c.kind != kindLong {
			y := &source{"y", k.next(t).rel, t}
			return fmt.Sprintf("%s %sIN (SELECT %s FROM %s y WHERE %s)", s.of(c), not, y.of(o), t.name, k.test("", y))
		}
	}
	return k.exists(s, 1)
}
