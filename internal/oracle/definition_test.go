package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// redefine changes definitions in the middle of everything, some of them
// together with rows.
func redefine(ctx context.Context, run *run, r *rand.Rand) {
	w := &writer{Rand: r, run: run}
	d := &definer{writer: w}
	for ctx.Err() == nil {
		run.between(ctx, r, 100, 500)
		if w.conn == nil || w.conn.IsClosed() {
			if w.connect(); w.conn == nil {
				continue
			}
		}
		d.change()
	}
	if w.conn != nil {
		_ = w.conn.Close(context.Background())
	}
}

// definer is a writer of definitions.
type definer struct {
	*writer
	added []string // "table column", as now
	n     int
}

func (d *definer) change() {
	sql, done := d.statement()
	if sql == "" {
		return
	}
	d.tx = &transaction{life: int(d.run.life.Load())}
	if d.exec("BEGIN") != nil {
		return
	}
	var err error
	if chance(d.Rand, 30) {
		err = d.writer.statement(pick(d.Rand, d.run.s.tables))
	}
	for _, one := range strings.Split(sql, ";;") {
		if err == nil {
			err = d.exec(one, pgx.QueryExecModeSimpleProtocol)
			d.tx.effects = append(d.tx.effects, effect{sql: one})
		}
	}
	if err == nil && chance(d.Rand, 20) {
		err = d.writer.statement(pick(d.Rand, d.run.s.tables))
	}
	if err == nil && chance(d.Rand, 30) {
		time.Sleep(between(d.Rand, 1, 20)) // seen by nobody for so long
	}
	if err != nil || chance(d.Rand, 10) {
		if !d.conn.IsClosed() {
			_ = d.exec("ROLLBACK")
		}
		d.run.unexpected(err)
		return
	}
	if d.commit() && done != nil {
		done()
	}
}

// statement returns a change of a definition, and what to remember of it.
func (d *definer) statement() (sql string, done func()) {
	s := d.run.s
	d.n++
	t := pick(d.Rand, s.tables)
	switch d.IntN(9) {
	case 0, 1:
		return pick(d.Rand, s.views).definition(d.Rand), nil
	case 2:
		v := pick(d.Rand, s.views)
		sql := "DROP VIEW " + v.name + ";;" + v.definition(d.Rand)
		if s.restrict {
			sql += ";;GRANT SELECT ON " + v.name + " TO " + role
		}
		return sql, nil
	case 3:
		f := pick(d.Rand, s.functions)
		return f.definition(d.Rand), nil
	case 4:
		// A function that returns whole rows breaks when they get wider.
		if strings.HasSuffix(t.name, "_child") || slices.ContainsFunc(s.functions, func(f *function) bool { return f.set != nil && (f.set == t || f.set == t.child) }) {
			return "", nil
		}
		col := fmt.Sprintf("z%d", d.n)
		kind := pick(d.Rand, []string{"int", "int DEFAULT 7", "text DEFAULT 'new'", "timestamptz DEFAULT clock_timestamp()"})
		if strings.Contains(kind, "clock") {
			kind = "text" // the replica's clock says something else
		}
		return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", t.name, col, kind), func() { d.added = append(d.added, t.name+" "+col) }
	case 5, 6:
		if len(d.added) == 0 {
			return "", nil
		}
		i := d.IntN(len(d.added))
		table, col, _ := strings.Cut(d.added[i], " ")
		switch d.IntN(3) {
		case 0:
			return fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s", table, col), func() { d.added = slices.Delete(d.added, i, i+1) }
		case 1:
			return fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO y%d", table, col, d.n), func() { d.added[i] = fmt.Sprintf("%s y%d", table, d.n) }
		}
		return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE varchar USING %s::varchar || 'x'", table, col, col), nil
	case 7:
		return fmt.Sprintf("CREATE INDEX x%d ON %s (%s);;DROP INDEX x%d", d.n, t.name, t.key[0].name, d.n), nil
	}
	if !t.rls {
		return "", nil
	}
	return fmt.Sprintf("ALTER POLICY p ON %s USING (%s)", t.name, constantCondition(d.Rand, t, t.name)), nil
}
