package main

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// market is the shop of precision: schema, rows and endpoints.
//
//go:embed precision
var market embed.FS

const (
	precisionAnswers = 12  // of each shape
	precisionCompare = 100 // writes between two comparisons of all answers with Postgres
	precisionDoubted = 10  // kept answers that are compared after every write
	precisionReads   = 19  // to a write, in the second pass: 95 %
)

// tally counts what became of answers after writes.
type tally struct {
	Looked  int // answers that were there when a write came
	Dropped int // computed again when they were asked for next
	Patched int // another answer, without a query
	Changed int // those of either that differ from what was there before
	Tables  int // that read a table of which the write changed a row
	Stray   int // dropped or patched though they read none
}

func (t *tally) add(o tally) {
	t.Looked += o.Looked
	t.Dropped += o.Dropped
	t.Patched += o.Patched
	t.Changed += o.Changed
	t.Tables += o.Tables
	t.Stray += o.Stray
}

func (t tally) touched() int { return t.Dropped + t.Patched }

// share is a part of a whole, in percent; of nothing, all.
func share(part, whole int) float64 {
	if whole == 0 {
		return 100
	}
	return 100 * float64(part) / float64(whole)
}

// runPrecision writes to a shop and asks, after every transaction, for every
// cached answer. From outside it is seen which answers were kept, which were
// computed anew, and whether that was for anything.
func runPrecision(ctx context.Context, s *sitting) error {
	p := &precision{sitting: s, writes: s.writes, by: map[[2]string]*tally{}, doubts: newKeys(4)}
	if s.short {
		p.writes = min(p.writes, 500)
	}
	if err := p.open(ctx); err != nil {
		p.close()
		return err
	}
	defer p.close()
	if err := p.changes(ctx); err != nil {
		return p.tide.alive(err)
	}
	mixed, err := p.mix(ctx)
	if err != nil {
		return p.tide.alive(err)
	}
	return p.report(mixed)
}

// precision is one measurement.
type precision struct {
	*sitting
	writes int
	remove func()
	db     *database
	tide   *instance
	files  map[string]*query.File
	oracle *oracle
	conn   *pgx.Conn // writes
	writer *marketWriter
	waiter *httpConn
	doubts *keys

	asks      []*ask
	by        map[[2]string]*tally // operation and shape
	compared  int
	wrong     []string
	took      time.Duration
	waited    time.Duration // for the log
	fills     float64       // by tidemark's own count
	questions float64       // by Postgres's count
}

func (p *precision) open(ctx context.Context) error {
	path, remove, err := program(ctx, p.sitting)
	if err != nil {
		return err
	}
	p.remove = remove
	schema, err := market.ReadFile("precision/schema.sql")
	if err != nil {
		return err
	}
	rows, err := market.ReadFile("precision/load.sql")
	if err != nil {
		return err
	}
	// Nothing here is a matter of how fast a commit reaches the disk.
	if p.db, err = openCounted(ctx, p.sitting, map[string]string{"fsync": "off"}, string(schema), string(rows)); err != nil {
		return err
	}
	texts, files, err := readEndpoints(market, "precision/endpoints")
	if err != nil {
		return err
	}
	p.files = files
	refill := withoutRefill(ctx, path)
	p.tide, err = startInstance(ctx, launch{
		program: path, dsn: p.db.dsn, slot: "bench", endpoints: texts, settings: append([]string{"--cache.max-memory=1GiB"}, refill...),
	})
	if err != nil {
		return err
	}
	if p.oracle, err = openOracle(ctx, p.db.dsn, files); err != nil {
		return err
	}
	if p.conn, err = p.db.application(ctx); err != nil {
		return err
	}
	p.waiter = newHTTPConn(p.tide.addr)
	p.writer, err = newMarketWriter(ctx, p.conn, 1)
	return err
}

func (p *precision) close() {
	if p.waiter != nil {
		p.waiter.close()
	}
	if p.conn != nil {
		_ = p.conn.Close(context.Background())
	}
	if p.oracle != nil {
		p.oracle.close()
	}
	if p.tide != nil {
		p.tide.close()
	}
	if p.db != nil {
		p.db.close()
	}
	if p.remove != nil {
		p.remove()
	}
}

// write makes one transaction and waits until tidemark has applied it.
func (p *precision) write(ctx context.Context) (*operation, error) {
	op, err := p.writer.write(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	defer func() { p.waited += time.Since(begin) }()
	return op, await(p.waiter, p.writer.token)
}

// await returns when tidemark has applied what a token names. What is read for
// that is never written.
func await(conn *httpConn, token string) error {
	r, err := conn.get(request("/v1/settled", atLeast(token)))
	if err == nil && r.status != 200 {
		err = fmt.Errorf("%w: %s%s", errResponse, r.head, r.body)
	}
	return err
}

// changes is the first pass: every answer, after every write.
func (p *precision) changes(ctx context.Context) error {
	p.asks = drawAnswers(p.files, newKeys(2), precisionAnswers)
	p.say("answers   %d cached, of %d shapes; all are asked for after each of %d writes", len(p.asks), len(shapes), p.writes)
	sweeper, err := newSweeper(p.tide.addr, 4, p.asks)
	if err != nil {
		return err
	}
	defer sweeper.close()
	at := map[*ask]int{}
	for i, a := range p.asks {
		at[a] = i
	}
	last := make([]seen, len(p.asks))
	note := func(a *ask, s seen) { last[at[a]] = s }
	for range 2 {
		if err := sweeper.sweep(note); err != nil {
			return err
		}
	}
	for i, a := range p.asks {
		if !last[i].hit {
			return fmt.Errorf("%s is not kept", a.path)
		}
	}
	if err := p.compare(ctx, p.asks); err != nil {
		return err
	}
	fills, questions, err := p.counters(ctx)
	if err != nil {
		return err
	}
	p.section("writes, with every answer asked for after each")
	begin := time.Now()
	for n := range p.writes {
		op, err := p.write(ctx)
		if err != nil {
			return err
		}
		if err := sweeper.sweep(note); err != nil {
			return err
		}
		if err := p.compare(ctx, p.doubted(p.count(op, last))); err != nil {
			return err
		}
		if (n+1)%precisionCompare == 0 || n+1 == p.writes {
			if err := p.compare(ctx, p.asks); err != nil {
				return err
			}
		}
		if (n+1)%max(1, p.writes/10) == 0 {
			p.say("  %6d writes  %6.1f s, of which %.1f s waiting for the log", n+1, time.Since(begin).Seconds(), p.waited.Seconds())
		}
	}
	p.took = time.Since(begin)
	f, q, err := p.counters(ctx)
	p.fills, p.questions = f-fills, q-questions
	return err
}

// doubted picks some of the answers that were kept though they read a table of
// which a row has changed. What a missed change leaves behind is often repaired
// by the next one, before all answers are compared.
func (p *precision) doubted(kept []*ask) []*ask {
	if p.short {
		return kept
	}
	p.doubts.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	return kept[:min(precisionDoubted, len(kept))]
}

// count says what one write did to every answer, and returns those that were kept
// and that an invalidation by table would have dropped.
func (p *precision) count(op *operation, last []seen) (kept []*ask) {
	tables := map[string]bool{}
	for i := range shapes {
		tables[shapes[i].name] = slices.ContainsFunc(shapes[i].tables, func(t string) bool { return p.writer.affected[t] })
	}
	for i, a := range p.asks {
		key := [2]string{op.name, a.endpoint}
		t := p.by[key]
		if t == nil {
			t = &tally{}
			p.by[key] = t
		}
		t.Looked++
		if tables[a.endpoint] {
			t.Tables++
		}
		s := last[i]
		if !tables[a.endpoint] && !(s.hit && s.same) {
			t.Stray++
		}
		switch {
		case s.hit && s.same:
			if tables[a.endpoint] {
				kept = append(kept, a)
			}
		case s.hit:
			t.Patched++
			t.Changed++
		default:
			t.Dropped++
			if !s.same {
				t.Changed++
			}
		}
	}
	return kept
}

// compare holds what tidemark said last against Postgres, while nobody writes.
func (p *precision) compare(ctx context.Context, asks []*ask) error {
	wrong, err := p.oracle.differing(ctx, asks)
	p.compared += len(asks)
	p.wrong = append(p.wrong, wrong...)
	if len(p.wrong) > 20 {
		return fmt.Errorf("%d answers differ from Postgres:\n%s", len(p.wrong), p.wrong[0])
	}
	return err
}

// counters returns how many queries filled answers: as tidemark counts them, and
// as Postgres does, which includes whatever else they ask of the shop's tables.
func (p *precision) counters(ctx context.Context) (fills, questions float64, err error) {
	m, err := p.tide.metrics()
	if err != nil {
		return 0, 0, err
	}
	questions, err = p.db.queries(ctx, "products", "product_stock", "inventory", "users", "addresses", "memberships",
		"orders", "order_lines", "reviews", "follows", "cart_items")
	return m["tidemark_fills_total"], questions, err
}
