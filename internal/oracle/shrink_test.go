package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// shrinkTime bounds how long a failure is made smaller, unless TIDEMARK_SHRINK
// says something else.
const shrinkTime = 90 * time.Second

// shrinker tries smaller forms of a scenario that fails, each from scratch.
type shrinker struct {
	testing.TB
	server *pgtest.Server
	until  time.Time
	best   *scenario
	failed *mismatch
}

// shrink returns a smaller scenario in which the same request gets a wrong
// answer, as far as the time goes.
func shrink(t testing.TB, server *pgtest.Server, sc *scenario, failed *mismatch, patience time.Duration) (*scenario, *mismatch) {
	first := *sc
	first.steps = sc.steps[:failed.step+1]
	s := &shrinker{TB: t, server: server, until: time.Now().Add(patience), best: &first, failed: failed}
	alone, few := first, first
	alone.eps = []*endpoint{failed.req.ep.asking(failed.req)}
	few.eps = []*endpoint{failed.req.ep.asking(failed.req.ep.asked...)}
	if !s.try(&alone) {
		s.try(&few)
	}
	s.later()
	s.best.steps = without(s, s.best.steps, func(sc *scenario, steps []step) { sc.steps = steps })
	s.statements()
	s.best.rows = without(s, s.best.rows, func(sc *scenario, rows []string) { sc.rows = rows })
	s.unread()
	return s.best, s.failed
}

// asking returns the endpoint with these requests only.
func (e *endpoint) asking(some ...*request) *endpoint {
	c := *e
	c.asked = nil
	for _, q := range some {
		c.asked = append(c.asked, &request{ep: &c, path: q.path, args: q.args})
	}
	return &c
}

// try plays a scenario, and keeps it if it fails likewise.
func (s *shrinker) try(sc *scenario) bool {
	if time.Now().After(s.until) {
		return false
	}
	p, err := play(s.TB, s.server, sc, time.Minute)
	if err != nil || p.failed == nil || p.failed.req.path != s.failed.req.path {
		return false
	}
	small := *sc
	small.steps = sc.steps[:p.failed.step+1]
	s.best, s.failed = &small, p.failed
	return true
}

// later begins with the rows as they were shortly before the failure.
func (s *shrinker) later() {
	for back := 1; back < len(s.best.steps); back *= 2 {
		sc := *s.best
		at := len(sc.steps) - back
		rows, err := s.rowsAt(at - 1)
		if err != nil {
			s.Logf("no rows at step %d: %v", at, err)
			return
		}
		// The step before the failure is kept: the answer is read after it.
		sc.rows = rows
		sc.steps = slices.Clone(sc.steps[max(0, at-1):])
		sc.steps[0].mode = "all"
		if s.try(&sc) {
			return
		}
	}
}

// rowsAt returns statements for the rows that there are before a step.
func (s *shrinker) rowsAt(n int) ([]string, error) {
	ctx := context.Background()
	p := &player{TB: s.TB, scenario: s.best}
	db := s.server.DB(s.TB)
	conn, err := pgx.Connect(ctx, db.DSN())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	p.write = conn
	for _, sql := range slices.Concat(s.best.ddl, s.best.rows, []string{"CREATE SCHEMA tidemark; CREATE FUNCTION tidemark.token() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'"}) {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return nil, err
		}
	}
	for i := range max(n, 0) {
		_, _ = p.run(ctx, &s.best.steps[i]) // there is no token here
	}
	var out []string
	for _, t := range s.best.tables {
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT format('INSERT INTO %s SELECT (%%L::%s).*', x) FROM %s x", t, t, t))
		if err != nil {
			return nil, err
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		out = append(out, all...)
	}
	return out, nil
}

// without leaves out what it can: halves, then quarters, and so on.
func without[T any](s *shrinker, all []T, set func(*scenario, []T)) []T {
	for size := (len(all) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(all); {
			rest := slices.Concat(all[:from], all[min(from+size, len(all)):])
			sc := *s.best
			set(&sc, rest)
			if len(sc.steps) > 0 && s.try(&sc) {
				all = rest
				continue
			}
			from += size
		}
	}
	return all
}

// statements leaves out single statements of transactions.
func (s *shrinker) statements() {
	for i := len(s.best.steps) - 1; i >= 0; i-- {
		for j := 0; i < len(s.best.steps) && j < len(s.best.steps[i].statements); {
			sc := *s.best
			sc.steps = slices.Clone(sc.steps)
			sc.steps[i].statements = slices.Delete(slices.Clone(sc.steps[i].statements), j, j+1)
			if !s.try(&sc) {
				j++
			}
		}
	}
}

// unread leaves out tables that the endpoint does not read.
func (s *shrinker) unread() {
	sc := *s.best
	var gone []string
	for _, t := range sc.tables {
		if !slices.ContainsFunc(sc.eps, func(e *endpoint) bool { return slices.Contains(e.reads, t) }) {
			gone = append(gone, t)
		}
	}
	mentions := func(sql string) bool {
		return slices.ContainsFunc(gone, func(t string) bool { return strings.Contains(sql, t) || strings.Contains(sql, "v"+t[1:]+" ") })
	}
	sc.tables = slices.DeleteFunc(slices.Clone(sc.tables), func(t string) bool { return slices.Contains(gone, t) })
	sc.ddl = slices.DeleteFunc(slices.Clone(sc.ddl), mentions)
	sc.rows = slices.DeleteFunc(slices.Clone(sc.rows), mentions)
	s.try(&sc)
}
