package oracle

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// mismatch is an answer that is not what Postgres says.
type mismatch struct {
	step      int
	req       *request
	level     revision.Level
	from      string // memory, a query
	got, want string
	before    string // what Postgres said before the step
}

func (m *mismatch) String() string {
	return short(fmt.Sprintf("after step %d, at %s, from %s:\ngot    %s\nwant   %s\nbefore %s\n%s", m.step, m.level, m.from, m.got, m.want, m.before, m.req))
}

// short leaves out most of what is the same character over and over.
func short(s string) string {
	var b strings.Builder
	var last rune
	n := 0
	for _, c := range s {
		if n++; c != last {
			last, n = c, 0
		}
		switch {
		case n < 20:
			b.WriteRune(c)
		case n == 20:
			b.WriteRune('…')
		}
	}
	return b.String()
}

// player plays a scenario: one writer, and after each transaction the answers,
// each compared with what Postgres says at that moment.
type player struct {
	testing.TB
	*scenario
	db      *pgtest.Database
	write   *pgx.Conn
	ask     *pgx.Conn // as whom tidemark reads
	subject *subject
	asked   []*request
	names   map[*endpoint][]string
	args    [][][]byte
	dirty   []bool       // what Postgres says is not known
	touched []bool       // the last step changed what it reads
	want    []result     // what Postgres says
	last    []result     // what it said before the step
	warm    []bool       // was read before
	past    []pastStep   // the latest states that are known in full
	at      int          // the step
	applied atomic.Int64 // the latest step that tidemark has applied for certain

	mu     sync.Mutex
	failed *mismatch
	tally  map[string]int
	// The slowest answer, and how it was asked for.
	slowest time.Duration
	slow    string
}

// pastStep is a state with the token of the transaction that made it.
type pastStep struct {
	token revision.Token
	want  []result
}

const keptSteps = 6

// play plays a scenario for a while, or until the first mismatch. An error says
// that the scenario cannot be played.
func play(t testing.TB, server *pgtest.Server, sc *scenario, d time.Duration) (*player, error) {
	ctx := context.Background()
	p := &player{TB: t, scenario: sc, tally: map[string]int{}, names: map[*endpoint][]string{}}
	p.applied.Store(-1)
	p.db = server.DB(t)
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	defer p.close(ctx)
	until := time.Now().Add(d)
	defer p.audit(ctx)
	for i := range sc.steps {
		if time.Now().After(until) || p.failed != nil {
			break
		}
		p.at = i
		p.tally["steps"]++
		if err := p.step(ctx, &sc.steps[i]); err != nil {
			return p, fmt.Errorf("step %d: %w", i, err)
		}
	}
	return p, nil
}

func (p *player) open(ctx context.Context) error {
	var err error
	if p.write, err = pgx.Connect(ctx, p.db.DSN()); err != nil {
		return err
	}
	for _, sql := range slices.Concat(p.ddl, p.rows) {
		if _, err := p.write.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%w\nin: %s", err, sql)
		}
	}
	in := setup.Input{Publication: "tidemark", Slot: p.db.Name, ReplicaIdentity: setup.Keep}
	for _, name := range p.tables {
		in.Tables = append(in.Tables, setup.Table{Schema: "public", Name: name})
	}
	report, err := setup.Inspect(ctx, p.write, in)
	if err != nil {
		return err
	}
	if _, err := setup.Apply(ctx, p.write, report, setup.Patience{}, nil); err != nil {
		return err
	}
	user := "postgres"
	if p.restrict {
		user = role
	}
	if p.ask, err = pgx.Connect(ctx, p.db.UserDSN(user)+"&plan_cache_mode=force_generic_plan"); err != nil {
		return err
	}
	p.asked = p.scenario.asked()
	for _, q := range p.asked {
		p.args = append(p.args, q.values())
	}
	n := len(p.asked)
	p.dirty, p.touched, p.want, p.last, p.warm = slices.Repeat([]bool{true}, n), make([]bool, n), make([]result, n), make([]result, n), make([]bool, n)
	for _, e := range p.eps {
		if err := p.prepare(ctx, e); err != nil {
			return err
		}
	}
	dir := p.TempDir()
	if err := writeEndpoints(dir, p.eps); err != nil {
		return err
	}
	if p.subject, err = newSubject(p.options(p.db.UserDSN(user), dir, p.db.Name)); err != nil {
		return err
	}
	return p.subject.start(ctx)
}

// audit has tidemark look for wrong answers itself.
func (p *player) audit(ctx context.Context) {
	report, err := p.subject.tenant.Audit(ctx, tenant.AuditRequest{})
	if err != nil && p.failed == nil {
		p.Errorf("the audit failed: %v", err)
	}
	if report.Wrong > 0 && p.failed == nil {
		p.Errorf("the audit found %d of %d answers wrong: %+v", report.Wrong, report.Checked, report.Findings)
	}
	p.tally["audited"] = report.Checked
}

func (p *player) prepare(ctx context.Context, e *endpoint) error {
	sql, _ := e.numbered()
	d, err := p.ask.PgConn().Prepare(ctx, "", sql, nil)
	if err != nil {
		return fmt.Errorf("endpoint %s, %s: %w\nin: %s", e.name, e.cell, err, sql)
	}
	for _, f := range d.Fields {
		p.names[e] = append(p.names[e], f.Name)
	}
	_, err = p.ask.PgConn().Prepare(ctx, e.name, asJSON(sql, len(d.Fields)), d.ParamOIDs)
	return err
}

func (p *player) close(ctx context.Context) {
	if p.subject != nil {
		if err := p.subject.close(); err != nil {
			p.Errorf("tidemark ended with: %v", err)
		}
	}
	for _, c := range []*pgx.Conn{p.ask, p.write} {
		if c != nil {
			_ = c.Close(ctx)
		}
	}
	// Slots are few, and plays of one test many.
	conn, err := pgx.Connect(ctx, p.db.DSN())
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	for range 50 {
		if _, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", p.db.Name); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// run writes the transaction of a step and returns its token.
func (p *player) run(ctx context.Context, st *step) (revision.Token, error) {
	exec := func(sql string) ([]*pgconn.Result, error) { return p.write.PgConn().Exec(ctx, sql).ReadAll() }
	sql := "BEGIN;"
	for _, s := range st.statements {
		if s.copy == "" {
			sql += s.sql + ";"
			continue
		}
		if _, err := exec(sql); err != nil {
			return revision.Token{}, err
		}
		sql = ""
		if _, err := p.write.PgConn().CopyFrom(ctx, strings.NewReader(s.copy), s.sql); err != nil {
			return revision.Token{}, err
		}
	}
	res, err := exec(sql + "SELECT tidemark.token();COMMIT")
	if err != nil {
		return revision.Token{}, err
	}
	return revision.ParseToken(string(res[len(res)-2].Rows[0][0]))
}

// step writes, and compares what is read after it.
func (p *player) step(ctx context.Context, st *step) error {
	token, err := p.run(ctx, st)
	if err != nil {
		_, _ = p.write.Exec(ctx, "ROLLBACK")
		return err
	}
	for i, q := range p.asked {
		p.touched[i] = st.touches(q.ep)
		p.dirty[i] = p.dirty[i] || p.touched[i]
	}
	if st.mode == "none" {
		return nil
	}
	read := make([]bool, len(p.asked))
	var order []int
	for i, q := range p.asked {
		if read[i] = st.mode != "some" || q.draw(st.seed, "some", 3) == 0; read[i] {
			order = append(order, i)
		}
	}
	if err := p.query(ctx, read); err != nil {
		return err
	}
	if chanceOf(st.seed, 2) {
		slices.Reverse(order)
	}
	switch st.mode {
	case "together":
		p.together(ctx, st, order, token)
	case "batch":
		if err := p.batches(ctx, order, token); err != nil {
			return err
		}
	default:
		for _, i := range order {
			p.read(ctx, st, i, token)
		}
	}
	if !slices.Contains(p.dirty, true) {
		p.past = append(p.past, pastStep{token, slices.Clone(p.want)})
		p.past = p.past[max(0, len(p.past)-keptSteps):]
	}
	return nil
}

// touches says that a step changes a table that an endpoint may read, or a
// definition.
func (st *step) touches(e *endpoint) bool {
	return slices.ContainsFunc(st.statements, func(s statement) bool {
		words := strings.Fields(s.sql)
		return words[0] == "CREATE" || slices.ContainsFunc(e.reads, func(t string) bool { return slices.Contains(words[:min(3, len(words))], t) })
	})
}

// draw returns a number below n, the same for the same request and seed.
func (q *request) draw(seed uint64, what string, n uint64) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %s", seed, what, q.path)
	return h.Sum64() / 7 % n
}

func chanceOf(seed, n uint64) bool { return rand.New(rand.NewPCG(seed, 6)).Uint64()%n == 0 }
