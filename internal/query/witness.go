package query

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// Witnesses. Of the rows of a table in EXISTS, IN or DISTINCT a query wants to
// know only which values of some columns there are. One row for each of them,
// its witness, is enough to know: as long as it stays, others with its values
// come and go without effect. There are several where they cost little, so that
// one may go. A row with a null among the values has no witness, so that it makes
// no difference whether nulls count, as they do for NOT IN.

// witnessPlan says which rows of one reference stand for which others.
type witnessPlan struct {
	ref  int
	same []match.KeyColumn // what has to be the same
	key  []match.KeyColumn // the table's own key
	// conditions are all that a witness has to pass.
	conditions []*condition
}

// rows returns the witnesses that a statement found. Where tests say all that
// the conditions do, what passes them is a witness as well.
func (w *witnessPlan) rows(b *Binding, rows []change.Row) *match.Witnesses {
	certain := true
	for _, c := range w.conditions {
		certain = certain && c.fold(b.args).exact()
	}
	return match.NewWitnesses(w.same, w.key, rows, certain)
}

// identified makes the columns that tell the rows of a reference apart count for
// what they hold.
func (e *Endpoint) identified(ref int, columns []match.KeyColumn) {
	r := e.Reads[ref]
	for _, k := range columns {
		if r.Columns != nil && !slices.Contains(r.Columns, k.Column) {
			r.Columns = append(r.Columns, k.Column)
		}
		r.Tested = slices.DeleteFunc(r.Tested, func(name string) bool { return name == k.Column })
	}
}

// witnesses makes the statements that find witnesses.
func (a *analysis) witnesses(e *Endpoint, t *tree) {
	for _, l := range a.levels {
		ref, same, conditions := a.asked(l)
		if ref == nil || t.ranks[ref.index] == rankUnique {
			continue
		}
		key := a.rowKey(ref)
		if key == nil || a.single(ref, same, conditions) {
			continue
		}
		w := &witnessPlan{ref: ref.index, key: key, conditions: conditions}
		for _, c := range same {
			w.same = append(w.same, match.KeyColumn{Column: c.name, Type: catalog.OID(c.typ), Class: c.class})
		}
		before := len(e.keys)
		a.ask(e, keyStatement{single: a.witnessStatement(e, t, w, same, conditions), witness: w})
		if len(e.keys) > before {
			e.identified(ref.index, key)
		}
	}
}

// single reports whether there is at most one row with the same values anyway.
func (a *analysis) single(ref *tableRef, same []*columnRef, conditions []*condition) bool {
	fixed := map[string]bool{}
	for _, c := range same {
		fixed[c.name] = true
	}
	for _, c := range conditions {
		if c.kind == condCompare && c.strategy == btreeEqual && c.col.part.Kind == match.Whole {
			fixed[c.col.name] = true
		}
	}
	for _, u := range a.uniques(ref) {
		if len(u) > 0 && !slices.ContainsFunc(u, func(name string) bool { return !fixed[name] }) {
			return true
		}
	}
	return false
}

// asked returns the only table of a level of which a query wants to know no more
// than which values of some columns are in rows that pass the conditions; nil
// for other levels. The conditions are all that can be written exactly.
func (a *analysis) asked(l *level) (ref *tableRef, same []*columnRef, conditions []*condition) {
	q := l.query
	if ref = a.alone(l); ref == nil || q.Child("limitOffset") != nil {
		return nil, nil, nil
	}
	kind, nested := a.sublinks[conjunct{l.parent, q}]
	exists := nested && kind == sublinkExists
	switch limit := q.Child("limitCount"); {
	case limit == nil:
	case !exists:
		return nil, nil, nil
	default:
		if v, known := a.scalar(l.frame, limit).value(nil); !known || v.null || v.text == "0" {
			return nil, nil, nil
		}
	}
	if !exists {
		if kind != sublinkAny && len(q.List("distinctClause")) == 0 || !nested && l.owner == nil && l != a.levels[0] {
			return nil, nil, nil
		}
		for _, te := range q.Nodes("targetList") {
			v := te.Child("expr")
			if v == nil || v.Tag != "VAR" || v.Int("varlevelsup") != 0 {
				return nil, nil, nil
			}
			c := a.resolve(l, l.top, v.Int("varno"), v.Int("varattno"))
			if kind != sublinkAny && !a.oneText(c) {
				return nil, nil, nil
			}
			if same = a.withIdentity(same, c); same == nil {
				return nil, nil, nil
			}
		}
	}
	joins, conditions, ok := a.correlated(l, ref)
	if !ok {
		return nil, nil, nil
	}
	for _, j := range joins {
		if same = a.withIdentity(same, j.to); same == nil {
			return nil, nil, nil
		}
	}
	return ref, same, conditions
}

// alone returns the only table of a level that shows its rows one by one, if
// statements of the session's own see the same of them; or nil.
func (a *analysis) alone(l *level) (ref *tableRef) {
	q := l.query
	if q == nil || len(l.top) != 1 || q.Child("setOperations") != nil || q.Bool("hasAggs") || q.Bool("hasWindowFuncs") ||
		q.Bool("hasTargetSRFs") || q.Bool("hasDistinctOn") || len(q.List("groupClause")) > 0 || len(q.List("groupingSets")) > 0 ||
		q.Child("havingQual") != nil {
		return nil
	}
	for n, nullable := range l.top {
		if e := l.lookup(n); e != nil && !nullable && e.node.Child("tablesample") == nil {
			ref = e.ref
		}
	}
	if ref == nil || ref.loose || a.srv.secured(ref.rel, ref.reader) || !a.readable(ref) {
		return nil
	}
	return ref
}

// correlated parts the conditions of a level over one table: columns that have to
// equal some of rows around, and what is about the table alone. It returns false
// where there are others.
func (a *analysis) correlated(l *level, ref *tableRef) (joins []edge, conditions []*condition, ok bool) {
	for _, n := range conjuncts(l.query.Child("jointree").Child("quals")) {
		c := a.condition(scope{l, l.top}, n)
		switch {
		case c.kind == condJoin && c.filtersCol && !c.filtersOther && c.other.ref != ref.index:
			joins = append(joins, edge{from: c.other, to: c.col})
		case c.kind == condJoin && c.filtersOther && !c.filtersCol && c.col.ref != ref.index:
			joins = append(joins, edge{from: c.col, to: c.other})
		case c.subject() == ref.index:
			conditions = append(conditions, c)
		default:
			return nil, nil, false
		}
	}
	return joins, conditions, true
}

// withIdentity adds a column whose values are told apart as Postgres does; nil
// is one of which that is not so.
func (a *analysis) withIdentity(same []*columnRef, c *columnRef) []*columnRef {
	if c == nil || c.part.Kind != match.Whole || c.class == match.ClassNone || c.class == match.ClassFloat && c.base != oidFloat8 {
		return nil
	}
	if !slices.ContainsFunc(same, func(o *columnRef) bool { return o.key() == c.key() }) {
		same = append(same, c)
	}
	return same
}

// oneText reports whether values of a column that are equal are shown alike: of
// those that are, DISTINCT shows any.
func (a *analysis) oneText(c *columnRef) bool {
	if c == nil {
		return false
	}
	switch c.class {
	case match.ClassNumeric, match.ClassFloat, match.ClassBPChar:
		return false
	}
	return a.srv.deterministic(a.collation(c))
}

// rowKey returns columns that tell the rows of a reference apart.
func (a *analysis) rowKey(ref *tableRef) []match.KeyColumn {
	if len(ref.tables) > 1 && ref.rel.kind != "p" {
		return nil
	}
	indexes := a.srv.uniques(ref.rel.oid)
	for _, index := range slices.Sorted(maps.Keys(indexes)) {
		var key []match.KeyColumn
		for _, name := range indexes[index] {
			c := ref.rel.named(name)
			if c == nil || c.generated || !c.notNull || !a.srv.deterministic(c.collation) {
				break
			}
			class := a.class(c.typ)
			if class == match.ClassNone || class == match.ClassFloat {
				break
			}
			key = append(key, match.KeyColumn{Column: name, Type: catalog.OID(c.typ), Class: class})
		}
		if len(key) > 0 && len(key) == len(indexes[index]) {
			return key
		}
	}
	return nil
}

// witnessStatement asks for rows with each of the values, for one at least. Where keys say
// which values matter, it looks for each of them, as the query does.
func (a *analysis) witnessStatement(e *Endpoint, t *tree, w *witnessPlan, same []*columnRef, conditions []*condition) string {
	ref := a.refs[w.ref]
	r := renderer{a: a, aliases: map[int]string{w.ref: "w"}}
	var values, columns, where []string
	for _, c := range same {
		values = append(values, r.column(c))
	}
	for _, k := range w.key {
		columns = append(columns, "w."+quoteName(k.Column))
	}
	columns = slices.Concat(values, columns)
	for _, c := range conditions {
		s, ok := r.condition(c, true)
		if !ok {
			return ""
		}
		where = append(where, s)
	}
	for _, v := range values {
		where = append(where, v+" IS NOT NULL")
	}
	outer, keyed := "", 0
	above := t.above[w.ref]
	if len(above) == 0 && len(same) > 0 && a.costly(e, t, []int{w.ref}) {
		return ""
	}
	if len(above) > 0 {
		path := t.path(above[0].from.ref)
		if a.costly(e, t, path) {
			return ""
		}
		inner := renderer{a: a, aliases: map[int]string{}}
		for i, at := range path {
			inner.aliases[at] = "t" + strconv.Itoa(i)
		}
		var names []string
		for i, ed := range above {
			if !slices.ContainsFunc(same, func(c *columnRef) bool { return c.key() == ed.to.key() }) {
				return ""
			}
			k := "k" + strconv.Itoa(i)
			names = append(names, inner.column(ed.from)+" AS "+k)
			value := "k." + k
			if a.collation(ed.from) != a.collation(ed.to) {
				value += ` COLLATE "C"`
			}
			where = append(where, "("+r.column(ed.to)+comparisonOf(btreeEqual)+value+")")
		}
		keyed = len(above)
		tables, conditions := a.along(e, t, inner, path)
		outer = "SELECT DISTINCT " + strings.Join(names, ", ") + " FROM " + tables
		if len(conditions) > 0 {
			outer += " WHERE " + strings.Join(conditions, " AND ")
		}
		outer = "(SELECT k.*, pg_catalog.count(*) OVER () AS n FROM (" + outer + ") AS k) AS k CROSS JOIN LATERAL "
	}
	from := quoteName(ref.rel.schema) + "." + quoteName(ref.rel.name) + " AS w"
	if !ref.entry.node.Bool("inh") {
		from = "ONLY " + from
	}
	sql := "SELECT "
	if len(same) > 0 && keyed != len(same) {
		sql += "DISTINCT ON (" + strings.Join(values, ", ") + ") "
	}
	sql += strings.Join(columns, ", ") + " FROM " + from
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	limit := " LIMIT " + strconv.Itoa(MaxKeyRows+1)
	switch several := strconv.Itoa(match.MaxWitnesses); {
	case keyed != len(same):
	case outer == "":
		sql += " LIMIT " + several
	default:
		sql += " LIMIT CASE WHEN k.n" + comparisonOf(btreeLessEqual) + strconv.Itoa(MaxKeyRows/match.MaxWitnesses) + " THEN " + several + " ELSE 1 END"
	}
	if outer == "" {
		if keyed != len(same) {
			sql += limit
		}
		return sql
	}
	return "SELECT w.* FROM " + outer + "(" + sql + ") AS w" + limit
}
