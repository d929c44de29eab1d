package query

import "github.com/tidemarkdb/tidemark/internal/match"

// Columns that are only tested. An answer does not hang on what such a column
// holds but on whether its row passes, so that an update which changes no other
// column touches the answer only if it changes that. It takes three things:
//
//   - every mention of the column, on every level, is in a conjunct that filters
//     its rows and is about no other reference. A row for which a conjunct is not
//     true then takes no part, and rows that differ in such columns only and for
//     which all are true take the same part: nothing else looks at them. It makes
//     no difference whether the conjunct is one of WHERE or of an outer join that
//     filters this side; a null that stands for a missing row passes none of
//     them, because one that null passes is not testable.
//   - for these parameters each of the conjuncts is its tests: true if and only
//     if they are. This is decided with the parameters, by outcome.exact.
//   - further tests of the reference, carried over from other columns, are about
//     columns that joins compare, which are mentioned outside of such conjuncts.
//     Their verdict is the same before and after such an update.

// subject returns the only reference whose columns a condition mentions, or -1.
func (c *condition) subject() int {
	ref := -1
	var walk func(c *condition) bool
	walk = func(c *condition) bool {
		if c.kind == condUnknown || c.kind == condJoin || c.kind == condAmong {
			return false
		}
		if c.col != nil {
			if ref >= 0 && ref != c.col.ref {
				return false
			}
			ref = c.col.ref
		}
		for _, arg := range c.args {
			if !walk(arg) {
				return false
			}
		}
		return true
	}
	if !walk(c) {
		return -1
	}
	return ref
}

// testable reports whether tests can say all that the condition does. Where it
// depends on the parameters, as below CASE, it is true.
func (c *condition) testable() bool {
	switch c.kind {
	case condLiteral, condCompare, condIn, condColumn, condValue, condValues, condValueIn, condValueNull:
		return true
	case condElement, condContains, condOverlaps, condStarts:
		return true
	case condLike:
		return c.right.prefixes()
	case condColumnNull:
		return !c.col.nullable || c.literal == truthFalse
	case condAnd, condIsTrue:
		for _, arg := range c.args {
			if !arg.testable() {
				return false
			}
		}
		return true
	case condNot:
		switch arg := c.args[0]; arg.kind {
		case condCompare, condIn, condColumn, condLiteral, condValue, condValues, condValueIn, condValueNull:
			return true
		case condColumnNull:
			return !arg.col.nullable || arg.literal == truthTrue
		}
		return false
	case condOr:
		// Alternatives that parameters decide fall away; of those that remain
		// there is one, or they list values of one column.
		var columns []*condition
		for _, arg := range c.args {
			if !arg.testable() {
				return false
			}
			if arg.subject() >= 0 {
				columns = append(columns, arg)
			}
		}
		if len(columns) < 2 {
			return true
		}
		for _, arg := range columns {
			listed := arg.kind == condIn || arg.kind == condColumn || arg.kind == condCompare && arg.strategy == btreeEqual
			if !listed || arg.col.name != columns[0].col.name || arg.col.part != columns[0].col.part {
				return false
			}
		}
		return true
	case condCase:
		for i, arg := range c.args {
			when := i%2 == 0 && i < len(c.args)-1
			if when && arg.subject() >= 0 || !arg.testable() {
				return false
			}
		}
		return true
	}
	return false
}

// exact reports whether the tests of find are true for a row if and only if the
// outcome is.
func (o outcome) exact() bool {
	switch o.kind {
	case condLiteral:
		return true
	case condCompare:
		return !o.implied && !(o.col.nullable && o.test.Op == match.IsNull)
	case condAnd, condIsTrue:
		for _, arg := range o.args {
			if !arg.exact() {
				return false
			}
		}
		return true
	case condOr:
		first := columnTest{o.args[0].col, o.args[0].test}
		for _, arg := range o.args {
			if arg.kind != condCompare || arg.implied || !first.about(columnTest{arg.col, arg.test}) {
				return false
			}
			if _, listed := pinned(arg.test); !listed {
				return false
			}
		}
		return true
	}
	return false
}

// testedColumns returns the columns of a reference that are only tested.
func (a *analysis) testedColumns(ref *tableRef) []string {
	if ref.entry.all || ref.loose {
		return nil
	}
	// What a generated column is made of is read where that column is.
	made := map[string]bool{}
	for _, oid := range ref.tables {
		r := a.srv.relation(oid)
		for i := range r.columns {
			c := &r.columns[i]
			if own := ref.rel.named(c.name); c.generated && own != nil && ref.entry.used[own.number] > 0 {
				for _, name := range a.generatedFrom(r, c.number) {
					made[name] = true
				}
			}
		}
	}
	var out []string
	for _, c := range ref.rel.columns {
		if ref.entry.used[c.number] > 0 && !c.generated && !made[c.name] && a.onlyTested(ref.entry, c.number) {
			out = append(out, c.name)
		}
	}
	return out
}

// onlyTested reports whether every mention of a column is in a conjunct that is
// testable. An output column of a subquery or view mentions it too: that counts
// for as much as what is done with the output column.
func (a *analysis) onlyTested(e *entry, attno int) bool {
	if e.all {
		return false
	}
	mentions := e.used[attno] - a.tested[mention{e, attno}]
	if mentions == 0 {
		return true
	}
	l := a.levelOf[e]
	if l == nil || l.owner == nil || l.query == nil || l.query.Child("setOperations") != nil {
		return false
	}
	for _, te := range l.query.Nodes("targetList") {
		expr := te.Child("expr")
		if expr == nil || expr.Tag != "VAR" || expr.Int("varlevelsup") != 0 || expr.Int("varattno") != attno || l.lookup(expr.Int("varno")) != e {
			continue
		}
		if te.Bool("resjunk") || te.Int("ressortgroupref") != 0 {
			return false
		}
		out := te.Int("resno")
		if l.owner.used[out] == 0 && !l.owner.all {
			continue // not read, and not counted as a mention
		}
		if !a.onlyTested(l.owner, out) {
			return false
		}
		mentions--
	}
	return mentions == 0
}
