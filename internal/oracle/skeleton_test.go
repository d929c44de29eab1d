package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// link says that columns of one table hold keys of another. Nothing enforces it:
// some hold keys of no row.
type link struct {
	from *table
	by   []*column
	to   *table
}

// self says that rows of a table refer to others of it.
func (l *link) self() bool { return l.from == l.to }

const (
	skeletonKeys = 12 // ids are 1..skeletonKeys
	skeletonRows = 11 // at the start, per table
)

// skeleton returns a schema in which every join has a place: a chain of four
// tables, a tree, a key of two columns with what refers to it, and a table that
// links two others. Columns are of all kinds, and few values make rows meet.
func skeleton(r *rand.Rand) *schema {
	s := &schema{restrict: chance(r, 12)}
	s.ddl = append(append(s.ddl, moodType), collations...)
	id := &kind{name: "key", sql: "int", values: numbers(1, skeletonKeys), spelt: []string{"+3", "99"}, alike: true, ordered: true, summed: true, cast: "bigint"}
	keyed := func(k *kind) *table { return &table{key: []*column{s.column(r, k, false)}} }
	refer := func(t, to *table, null bool) {
		l := &link{from: t, to: to}
		for _, k := range to.key {
			// One value more than there are keys: some references lead nowhere.
			ref := *k.kind
			ref.name, ref.values = "ref", k.kind.values
			if k.kind == id {
				ref.values = numbers(1, skeletonKeys+1)
			}
			c := s.column(r, &ref, null)
			if len(to.key) == 1 && k.kind == id {
				c.refs = to // what other shapes join by
			}
			l.by = append(l.by, c)
		}
		t.cols = append(t.cols, l.by...)
		s.links = append(s.links, l)
	}

	a, b, c, d := keyed(id), keyed(id), keyed(pick(r, []*kind{id, kindBigKey, kindUUIDKey})), keyed(id)
	refer(b, a, chance(r, 50))
	refer(c, b, chance(r, 50))
	refer(d, c, chance(r, 50))
	tree := keyed(id)
	refer(tree, tree, true)
	pair := &table{key: []*column{
		s.column(r, &kind{name: "half", sql: "int", values: numbers(1, 4), alike: true, ordered: true, summed: true}, false),
		s.column(r, &kind{name: "other", sql: "text", values: []string{"a", "b", "c"}, alike: true, ordered: true}, false),
	}}
	of := keyed(id)
	refer(of, pair, true)
	both := &table{}
	refer(both, a, false)
	refer(both, tree, false)
	both.key, both.cols = both.cols, nil

	for i, t := range []*table{a, b, c, d, tree, pair, of, both} {
		t.name = fmt.Sprintf("t%d", i)
		t.cols = append(slices.Clone(t.key), t.cols...)
		for _, k := range skeletonKinds(r) {
			t.cols = append(t.cols, s.column(r, k, chance(r, 60)))
		}
		s.tables = append(s.tables, t)
		s.create(r, t)
		s.read = append(s.read, &relation{t.name, t.cols, t.key})
		v := &view{name: fmt.Sprintf("v%d", i), from: t, cols: t.cols}
		s.views = append(s.views, v)
		s.ddl = append(s.ddl, v.definition(r))
	}
	s.addFunction(r)
	if s.restrict {
		s.addPolicies(r)
	}
	return s
}

// skeletonKinds are those of the columns that each table has beside its keys:
// something for every kind of condition.
func skeletonKinds(r *rand.Rand) []*kind {
	named := func(names ...string) *kind {
		name := pick(r, names)
		for _, k := range slices.Concat(kinds, further) {
			if k.name == name {
				return k
			}
		}
		panic(name)
	}
	all := []*kind{
		kindRank,
		named("int", "bigint", "small", "decimal"),
		named("text", "varchar", "sorted", "sorted", "natural"),
		named("bool"),
		named("json", "flags"),
		named("tags", "numbers"),
		pick(r, slices.Concat(kinds, further)),
		pick(r, slices.Concat(kinds, further)),
	}
	if chance(r, 30) {
		all = append(all, kindLong)
	}
	return all
}
