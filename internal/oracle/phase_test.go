package oracle

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// step is one transaction, and what is read after it.
type step struct {
	statements []statement
	mode       string // one of modes
	seed       uint64 // of what is left to chance in reading
}

// modes say what is read after a step: every answer one after the other, all at
// the same time, all in batches, some, or none.
var modes = []string{"all", "all", "all", "together", "batch", "some", "none"}

// statement is SQL on one line, with the lines of a COPY.
type statement struct {
	sql  string
	copy string
}

// author writes the transactions of a sequential run. Each row that it picks
// goes through phases: it is removed and added back, or added and removed,
// changed to values that other rows have, and changed back.
type author struct {
	*rand.Rand
	s      *schema
	m      model
	cycles []*cycle
}

// cycle is one row on its way through phases. An operation returns nothing when
// what it rests on is gone.
type cycle struct {
	ops  []func(model) []statement
	rows []string // that it changes, by table and key
}

func newAuthor(r *rand.Rand, s *schema) *author {
	a := &author{Rand: r, s: s, m: model{}}
	for _, t := range s.tables {
		a.m[t] = map[string][]*string{}
	}
	return a
}

// seed returns the first rows.
func (a *author) seedRows() []string {
	var out []string
	for _, t := range a.s.tables {
		for range skeletonRows {
			row := a.row(t)
			if a.m[t][keyOf(t, row)] == nil {
				a.m[t][keyOf(t, row)] = row
				out = append(out, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.name, columnNames(t.cols, ""), literals(row)))
			}
		}
	}
	return out
}

func (a *author) row(t *table) []*string {
	var row []*string
	for _, c := range t.cols {
		row = append(row, a.value(c))
	}
	return row
}

func (a *author) value(c *column) *string {
	if c.null && chance(a.Rand, 20) {
		return nil
	}
	v := c.kind.stored(a.Rand)
	return &v
}

// some returns a row of a table that no cycle is about, or nil.
func (a *author) some(t *table) []*string {
	keys := slices.Sorted(maps.Keys(a.m[t]))
	for range 5 {
		if len(keys) == 0 {
			return nil
		}
		if k := pick(a.Rand, keys); !a.busy(t, k) {
			return a.m[t][k]
		}
	}
	return nil
}

func (a *author) busy(t *table, key string) bool {
	return slices.ContainsFunc(a.cycles, func(c *cycle) bool { return slices.Contains(c.rows, t.name+" "+key) })
}

// absent returns a row with a key that there is not.
func (a *author) absent(t *table) []*string {
	for range 30 {
		row := a.row(t)
		if k := keyOf(t, row); a.m[t][k] == nil && !a.busy(t, k) {
			return row
		}
	}
	return nil
}

// next writes the next transaction.
func (a *author) next() step {
	st := step{mode: pick(a.Rand, modes), seed: a.Uint64()}
	for len(st.statements) == 0 {
		for len(a.cycles) < 4 {
			if c := a.cycle(); c != nil {
				a.cycles = append(a.cycles, c)
			}
		}
		switch n := a.IntN(100); {
		case n < 55:
			st.add(a.advance(1)...)
		case n < 75: // several rows
			for range 2 + a.IntN(2) {
				st.add(a.advance(1)...)
			}
		case n < 90: // one row several times
			st.add(a.advance(2 + a.IntN(3))...)
		case n < 94:
			undone := a.undone()
			st.add(undone...)
			st.add(a.advance(1)...)
		case n < 98:
			st.add(a.many(a.m)...)
		case n < 99:
			st.add(statement{sql: pick(a.Rand, a.s.views).definition(a.Rand)})
		default:
			st.add(a.truncate()...)
		}
	}
	return st
}

func (st *step) add(all ...statement) { st.statements = append(st.statements, all...) }

// advance takes one row through its next phases.
func (a *author) advance(phases int) []statement {
	if len(a.cycles) == 0 {
		return nil
	}
	i := a.IntN(len(a.cycles))
	c := a.cycles[i]
	var out []statement
	for ; phases > 0 && len(c.ops) > 0; phases-- {
		out = append(out, c.ops[0](a.m)...)
		c.ops = c.ops[1:]
	}
	if len(c.ops) == 0 {
		a.cycles = slices.Delete(a.cycles, i, i+1)
	}
	return out
}

// undone does something and takes it back by a savepoint.
func (a *author) undone() []statement {
	c := a.cycle()
	if c == nil {
		return nil
	}
	out := []statement{{sql: "SAVEPOINT s"}}
	out = append(out, c.ops[0](a.m.clone())...)
	return append(out, statement{sql: "ROLLBACK TO s"})
}

func (a *author) cycle() *cycle {
	t := pick(a.Rand, a.s.tables)
	switch n := a.IntN(100); {
	case n < 40:
		row := a.some(t)
		if row == nil {
			return nil
		}
		to := a.changed(t, row)
		return a.phases(t, [][]*string{row}, a.remove(t, row), a.add(t, row), a.change(t, row, to), a.change(t, to, row))
	case n < 60:
		row := a.absent(t)
		if row == nil {
			return nil
		}
		to := a.changed(t, row)
		return a.phases(t, [][]*string{row}, a.add(t, row), a.change(t, row, to), a.change(t, to, row), a.remove(t, row))
	case n < 75:
		row := a.some(t)
		if row == nil {
			return nil
		}
		one, two := a.changed(t, row), a.changed(t, row)
		return a.phases(t, [][]*string{row}, a.change(t, row, one), a.change(t, one, two), a.change(t, two, row), a.change(t, row, row))
	case n < 87: // the key
		row, other := a.some(t), a.absent(t)
		if row == nil || other == nil {
			return nil
		}
		to := slices.Clone(row)
		copy(to, other[:len(t.key)])
		if chance(a.Rand, 30) {
			to = a.changed(t, to)
		}
		return a.phases(t, [][]*string{row, other}, a.change(t, row, to), a.change(t, to, row))
	}
	// Two rows trade places.
	row, other := a.some(t), a.some(t)
	i := len(t.key) + a.IntN(len(t.cols)-len(t.key))
	if row == nil || other == nil || row[i] == nil && !t.cols[i].null {
		return nil
	}
	if keyOf(t, row) == keyOf(t, other) {
		return nil
	}
	x, y := slices.Clone(row), slices.Clone(other)
	x[i], y[i] = other[i], row[i]
	both := func(f, g func(model) []statement) func(model) []statement {
		return func(m model) []statement { return append(f(m), g(m)...) }
	}
	return a.phases(t, [][]*string{row, other}, both(a.change(t, row, x), a.change(t, other, y)), both(a.change(t, x, row), a.change(t, y, other)))
}

func (a *author) phases(t *table, rows [][]*string, ops ...func(model) []statement) *cycle {
	c := &cycle{ops: ops}
	for _, row := range rows {
		c.rows = append(c.rows, t.name+" "+keyOf(t, row))
	}
	return c
}

// changed returns a row with one or two other values, mostly ones that other
// rows of the table have.
func (a *author) changed(t *table, row []*string) []*string {
	to := slices.Clone(row)
	keys := slices.Sorted(maps.Keys(a.m[t]))
	for range 1 + a.IntN(2) {
		i := len(t.key)
		if len(t.cols) == i {
			return to
		}
		i += a.IntN(len(t.cols) - i)
		if len(keys) > 0 && chance(a.Rand, 60) {
			to[i] = a.m[t][pick(a.Rand, keys)][i]
			continue
		}
		to[i] = a.value(t.cols[i])
	}
	return to
}

func (a *author) remove(t *table, row []*string) func(model) []statement {
	return func(m model) []statement {
		key := keyOf(t, row)
		if m[t][key] == nil {
			return nil
		}
		delete(m[t], key)
		return []statement{{sql: fmt.Sprintf("DELETE FROM %s WHERE %s", t.name, whereKey(t, row))}}
	}
}

func (a *author) add(t *table, row []*string) func(model) []statement {
	return func(m model) []statement {
		key := keyOf(t, row)
		if m[t][key] != nil {
			return nil
		}
		m[t][key] = row
		names := columnNames(t.cols, "")
		switch a.IntN(8) {
		case 0:
			fields := make([]string, len(row))
			for i, v := range row {
				fields[i] = `\N`
				if v != nil {
					fields[i] = strings.ReplaceAll(*v, `\`, `\\`)
				}
			}
			return []statement{{fmt.Sprintf("COPY %s (%s) FROM STDIN", t.name, names), strings.Join(fields, "\t") + "\n"}}
		case 1:
			c := t.cols[len(t.cols)-1].name
			return []statement{{sql: fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s = EXCLUDED.%s",
				t.name, names, literals(row), columnNames(t.key, ""), c, c)}}
		}
		return []statement{{sql: fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.name, names, literals(row))}}
	}
}

// change updates one version of a row to another: the columns that differ, or
// all of them.
func (a *author) change(t *table, from, to []*string) func(model) []statement {
	return func(m model) []statement {
		old, is := keyOf(t, from), keyOf(t, to)
		if m[t][old] == nil || old != is && m[t][is] != nil {
			return nil
		}
		all := chance(a.Rand, 10)
		row := slices.Clone(m[t][old])
		var sets []string
		for i, c := range t.cols {
			if from[i] != to[i] || all || len(sets) == 0 && i == len(t.cols)-1 {
				row[i] = to[i]
				sets = append(sets, c.name+" = "+literalOf(to[i]))
			}
		}
		delete(m[t], old)
		m[t][is] = row
		return []statement{{sql: fmt.Sprintf("UPDATE %s SET %s WHERE %s", t.name, strings.Join(sets, ", "), whereKey(t, from))}}
	}
}

// many updates or deletes the rows that refer to the same row.
func (a *author) many(m model) []statement {
	l := pick(a.Rand, a.s.links)
	t, by := l.from, slices.Index(l.from.cols, l.by[0])
	asked := l.by[0].kind.value(a.Rand)
	i := len(t.key)
	if len(t.cols) == i {
		return nil
	}
	i += a.IntN(len(t.cols) - i)
	v, remove := a.value(t.cols[i]), chance(a.Rand, 15)
	for key, row := range m[t] {
		switch {
		case row[by] == nil || *row[by] != asked:
		case remove:
			delete(m[t], key)
		default:
			row = slices.Clone(row)
			row[i] = v
			m[t][key] = row
		}
	}
	where := fmt.Sprintf("%s = %s", l.by[0].name, quote(asked))
	if remove {
		return []statement{{sql: fmt.Sprintf("DELETE FROM %s WHERE %s", t.name, where)}}
	}
	return []statement{{sql: fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", t.name, t.cols[i].name, literalOf(v), where)}}
}

// truncate empties a table and fills it again.
func (a *author) truncate() []statement {
	t := pick(a.Rand, a.s.tables)
	out := []statement{{sql: "TRUNCATE " + t.name}}
	keep := a.m[t]
	a.m[t] = map[string][]*string{}
	for _, key := range slices.Sorted(maps.Keys(keep)) {
		if chance(a.Rand, 80) {
			out = append(out, a.add(t, keep[key])(a.m)...)
		}
	}
	return out
}
