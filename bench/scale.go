package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// The database of scale: ten tables of items that belong to owners, five
// endpoints over each.
const (
	scaleTables   = 10
	scaleKinds    = 5
	scaleMemory   = 16 // GiB: nothing is evicted
	scaleChanges  = 20_000
	scaleEach     = 100 // changes to a transaction
	scaleSpare    = 1000
	scalePerOwner = 2
	few           = 1000 // answers of the smaller server
)

// scaleEndpoints are small answers of the kinds that applications have most of.
func scaleEndpoints() map[string]string {
	out := map[string]string{"settled.sql": "-- GET /v1/settled\nSELECT id FROM settled\n"}
	for t := range scaleTables {
		for name, sql := range map[string]string{
			"one":    "-- GET /v1/t%[1]d/one/{id}\n-- result: one\nSELECT id, owner_id, status, amount FROM items%[1]d WHERE id = :id\n",
			"list":   "-- GET /v1/t%[1]d/list/{id}\nSELECT id, status, at FROM items%[1]d WHERE owner_id = :id ORDER BY at DESC, id DESC LIMIT 5\n",
			"open":   "-- GET /v1/t%[1]d/open/{id}\nSELECT id, amount FROM items%[1]d WHERE owner_id = :id AND status = 'open' ORDER BY id\n",
			"count":  "-- GET /v1/t%[1]d/count/{id}\n-- result: one\nSELECT count(*) AS n, sum(amount) AS amount FROM items%[1]d WHERE owner_id = :id\n",
			"joined": "-- GET /v1/t%[1]d/joined/{id}\nSELECT i.id, i.status, o.name FROM items%[1]d i JOIN owners o ON o.id = i.owner_id WHERE i.owner_id = :id ORDER BY i.id\n",
		} {
			out[fmt.Sprintf("t%d_%s.sql", t, name)] = fmt.Sprintf(sql, t)
		}
	}
	return out
}

// scaleSchema has, beyond the owners that are asked for, some that are only
// written to.
func scaleSchema(owners int) []string {
	out := []string{
		"CREATE TABLE settled (id int PRIMARY KEY)", "INSERT INTO settled VALUES (1)",
		"CREATE TABLE owners (id int PRIMARY KEY, name text NOT NULL)",
		fmt.Sprintf("INSERT INTO owners SELECT n, 'owner ' || n FROM generate_series(1, %d) n", owners+scaleSpare),
	}
	for t := range scaleTables {
		out = append(out,
			fmt.Sprintf("CREATE TABLE items%d (id int PRIMARY KEY, owner_id int NOT NULL, status text NOT NULL, amount int NOT NULL, note text NOT NULL, at timestamptz NOT NULL)", t),
			// The first item of an owner has its number.
			fmt.Sprintf(`INSERT INTO items%d SELECT n, 1 + (n - 1) %% %d, (ARRAY['open','paid'])[1 + n %% 2], n %% 100, 'note ' || n,
				'2026-01-01'::timestamptz + n * interval '1 minute' FROM generate_series(1, %d) n`, t, owners+scaleSpare, scalePerOwner*(owners+scaleSpare)),
			fmt.Sprintf("CREATE INDEX ON items%d (owner_id)", t))
	}
	return out
}

// scale is one measurement.
type scale struct {
	*sitting
	owners int // that are asked for by the larger server
	db     *database
	conn   *pgx.Conn
	files  map[string]*query.File
	few    *scaled
	many   *scaled
	serial int // of changes

	touching float64 // what a change costs the smaller server, in µs
}

// scaled is a server with a number of answers.
type scaled struct {
	*instance
	name   string
	owners int
	bodies int64 // bytes of all answers
}

func (s *scaled) answers() int { return s.owners * scaleTables * scaleKinds }

// runScale keeps two servers that follow the same log at the same time, one with
// a thousand answers and one with a million.
func runScale(ctx context.Context, s *sitting) (err error) {
	sc := &scale{sitting: s, owners: s.answers / (scaleTables * scaleKinds)}
	changes := scaleChanges
	if s.short {
		sc.owners, changes = 200, 2000
	}
	path, remove, err := program(ctx, s)
	if err != nil {
		return err
	}
	defer remove()
	defer func() { sc.close() }()
	if err := sc.open(ctx, path); err != nil {
		return err
	}
	if err := sc.fill(ctx); err != nil {
		return sc.many.alive(err)
	}
	return sc.measure(ctx, changes)
}

func (sc *scale) open(ctx context.Context, path string) (err error) {
	texts := scaleEndpoints()
	if sc.files, err = parseEndpoints(texts); err != nil {
		return err
	}
	if sc.db, err = openCounted(ctx, sc.sitting, map[string]string{"fsync": "off"}, scaleSchema(sc.owners)...); err != nil {
		return err
	}
	if sc.conn, err = sc.db.application(ctx); err != nil {
		return err
	}
	settings := append([]string{fmt.Sprintf("--cache.max-memory=%dGiB", scaleMemory), "--consistency.gc-window=1s"}, withoutRefill(ctx, path)...)
	for _, at := range []struct {
		name   string
		owners int
		to     **scaled
	}{{"few", min(few/(scaleTables*scaleKinds), sc.owners), &sc.few}, {"many", sc.owners, &sc.many}} {
		in, err := startInstance(ctx, launch{
			program: path, dsn: sc.db.dsn, slot: "bench_" + at.name, endpoints: texts, settings: settings,
			environment: []string{"GODEBUG=gctrace=1"},
		})
		if err != nil {
			return err
		}
		*at.to = &scaled{instance: in, name: at.name, owners: at.owners}
	}
	return nil
}

func (sc *scale) close() {
	for _, s := range []*scaled{sc.few, sc.many} {
		if s != nil {
			s.close()
		}
	}
	if sc.conn != nil {
		_ = sc.conn.Close(context.Background())
	}
	if sc.db != nil {
		sc.db.close()
	}
}

// fill asks both servers for their answers.
func (sc *scale) fill(ctx context.Context) error {
	sc.section("filling")
	for _, s := range []*scaled{sc.few, sc.many} {
		begin := time.Now()
		if err := sc.fetch(ctx, s, s.owners); err != nil {
			return err
		}
		took := time.Since(begin)
		m, err := s.metrics()
		if err != nil {
			return err
		}
		if int(m["tidemark_answers"]) < s.answers() {
			return fmt.Errorf("%.0f answers are kept, want %d", m["tidemark_answers"], s.answers())
		}
		sc.say("  %8d answers within %.1f s, %.0f per second, with %.0f queries", s.answers(), took.Seconds(), float64(s.answers())/took.Seconds(), m["tidemark_fills_total"])
	}
	return nil
}

// fetch asks for every answer about the first owners.
func (sc *scale) fetch(ctx context.Context, s *scaled, owners int) error {
	const connections = 16
	var all sync.WaitGroup
	errs, sizes := make([]error, connections), make([]int64, connections)
	for i := range connections {
		all.Go(func() {
			p, err := dialPipe(s.addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer p.close()
			for owner := 1 + i; owner <= owners && ctx.Err() == nil && errs[i] == nil; owner += connections {
				asks := sc.about(owner)
				errs[i] = p.get(asks, func(*ask, seen) {})
				for _, a := range asks {
					sizes[i] += int64(len(a.body))
				}
			}
		})
	}
	all.Wait()
	s.bodies = 0
	for _, n := range sizes {
		s.bodies += n
	}
	return errors.Join(append(errs, context.Cause(ctx))...)
}

// about are the answers about one owner.
func (sc *scale) about(owner int) []*ask {
	out := make([]*ask, 0, len(sc.files))
	for name, f := range sc.files {
		if name != "settled" {
			out = append(out, askFor(f, map[string]string{"id": strconv.Itoa(owner)}))
		}
	}
	return out
}

func (sc *scale) measure(ctx context.Context, changes int) error {
	if err := sc.costs(ctx, changes); err != nil {
		return err
	}
	if err := sc.fetch(ctx, sc.many, sc.owners); err != nil {
		return err
	}
	if err := sc.fetch(ctx, sc.few, sc.few.owners); err != nil {
		return err
	}
	if err := sc.memory(ctx); err != nil {
		return err
	}
	return sc.check(ctx)
}

// check holds some of the answers of the larger server to Postgres: those that
// changes have touched, and as many others.
func (sc *scale) check(ctx context.Context) error {
	o, err := openOracle(ctx, sc.db.dsn, sc.files)
	if err != nil {
		return err
	}
	defer o.close()
	token, err := sc.db.text(ctx, "SELECT tidemark.token()")
	if err != nil {
		return err
	}
	var asks []*ask
	for owner := range 2 * sc.few.owners {
		if owner >= sc.few.owners {
			owner = sc.owners / 2 * owner / sc.few.owners
		}
		asks = append(asks, sc.about(1+owner)...)
	}
	asks = fresh(asks, token)
	w, err := newSweeper(sc.many.addr, 4, asks)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.sweep(func(*ask, seen) {}); err != nil {
		return err
	}
	wrong, err := o.differing(ctx, asks)
	if err != nil {
		return err
	}
	sc.section("at the end")
	sc.say("  %d answers compared with Postgres", len(asks))
	sc.verdict("answers that differ", float64(len(wrong)), 0, false, "")
	if len(wrong) > 0 {
		return fmt.Errorf("%d answers differ from Postgres:\n%s", len(wrong), wrong[0])
	}
	return nil
}
