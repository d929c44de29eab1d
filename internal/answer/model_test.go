package answer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// model is a database with a log, reduced to what the seam is about: rows that
// transactions set, a log in commit order, and visibility that comes after the
// log, in its own order. It is its own oracle: the value of a row at a position
// is that of the last transaction in the log that set it.
type model struct {
	mu     sync.Mutex
	rng    *rand.Rand
	rows   []int          // visible values
	locked []bool         // rows whose writer is not visible yet
	next   revision.XID   // the next id
	active []revision.XID // begun, not visible
	insert revision.LSN   // end of the log
	log    []modelTx      // in commit order
	acked  []revision.LSN // per row: where its last visible write ended
	wake   chan struct{}  // the log grew
	fills  atomic.Int64

	// Where the server crashes, the log is durable later than it is written, and
	// what is not is undone: as if it had never been, and its ids are given again.
	crashes bool
	life    int
	durable revision.LSN // the log that is sent
	undone  int
}

type modelTx struct {
	xid  revision.XID
	end  revision.LSN
	sets map[int][2]int // row → old and new value
}

var modelRelation = &catalog.Relation{OID: 1, Schema: "s", Name: "t", Identity: catalog.IdentityFull, Columns: []catalog.Column{
	{Name: "k", Type: 23, Key: true}, {Name: "v", Type: 23, Key: true},
}}

func newModel(seed uint64, rows int) *model {
	m := &model{
		rng: rand.New(rand.NewPCG(seed, 1)), rows: make([]int, rows), locked: make([]bool, rows),
		next: 100, insert: 1000, durable: 1000, wake: make(chan struct{}, 1), acked: make([]revision.LSN, rows),
	}
	return m
}

// write runs one transaction over a few rows: begun, then in the log, then, a
// while later, visible.
func (m *model) write(r *rand.Rand) {
	m.mu.Lock()
	sets := map[int][2]int{}
	n := 1 + r.IntN(3)
	if r.IntN(8) == 0 {
		n = 8 // so many that Apply gives the lock away in between
	}
	for range n {
		k := r.IntN(len(m.rows))
		if m.locked[k] {
			continue
		}
		m.locked[k] = true
		sets[k] = [2]int{m.rows[k], r.IntN(1000)}
	}
	x := m.next
	m.next++
	m.active = append(m.active, x)
	life := m.life
	m.mu.Unlock()
	pause(r, 300)
	m.mu.Lock()
	if m.life != life {
		m.mu.Unlock()
		return
	}
	m.insert += revision.LSN(8 + r.IntN(64))
	end := m.insert
	m.log = append(m.log, modelTx{x, end, sets})
	if !m.crashes {
		m.flush()
	}
	m.mu.Unlock()
	pause(r, 1500) // the commit is in the log and cannot be seen
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life != life {
		return
	}
	for k, s := range sets {
		m.rows[k] = s[1]
		m.locked[k] = false
		m.acked[k] = end
	}
	m.active = remove(m.active, x)
}

// flush makes the log durable, and has it sent. m.mu is held.
func (m *model) flush() {
	m.durable = m.insert
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// crash undoes what is not durable, and shows the rest. m.mu is held.
func (m *model) crash() {
	m.life++
	kept := slices.IndexFunc(m.log, func(tx modelTx) bool { return tx.end > m.durable })
	if kept < 0 {
		kept = len(m.log)
	}
	m.undone += len(m.log) - kept
	m.log = slices.Clone(m.log[:kept])
	m.insert, m.next, m.active = m.durable, 100, nil
	clear(m.rows)
	clear(m.locked)
	for _, tx := range m.log {
		m.next = max(m.next, tx.xid+1)
		for k, s := range tx.sets {
			m.rows[k], m.acked[k] = s[1], tx.end
		}
	}
	for k := range m.acked {
		m.acked[k] = min(m.acked[k], m.durable)
	}
	modelPins.Clear()
}

func remove(xs []revision.XID, x revision.XID) []revision.XID {
	for i := range xs {
		if xs[i] == x {
			return append(xs[:i:i], xs[i+1:]...)
		}
	}
	return xs
}

func pause(r *rand.Rand, micros int) {
	if n := r.IntN(micros); n > micros/4 {
		time.Sleep(time.Duration(n) * time.Microsecond)
	}
}

// at returns what an answer reads at a position, from the log alone.
func (m *model) at(p revision.LSN, kind modelKind, rows []int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := make([]int, len(m.rows))
	for _, tx := range m.log {
		if tx.end > p {
			break
		}
		for k, s := range tx.sets {
			values[k] = s[1]
		}
	}
	body, _ := kind.read(values, rows)
	return string(body)
}

// modelKind is a kind of query over some rows.
type modelKind int

const (
	modelPlain  modelKind = iota // the values, with dependencies that the result refines
	modelList                    // the first rows of a value below modelEdge, followed
	modelTotals                  // their number and sum, followed
	modelJoin                    // the values of the rows that theirs name; which ones, the result tells
	modelKinds

	modelEdge  = 500
	modelLimit = 2
)

// read returns an answer as a query over the values gives it, and the rows from
// which it can be followed.
func (kind modelKind) read(values, rows []int) (body []byte, from []patch.Row) {
	text := func(n int) change.Value { return change.Value{Kind: change.Text, Text: []byte(strconv.Itoa(n))} }
	rows = slices.Clone(rows)
	slices.Sort(rows)
	var out []string
	n, sum := 0, 0
	for _, k := range rows {
		v := values[k]
		switch {
		case kind == modelPlain:
			out = append(out, strconv.Itoa(v))
		case kind == modelJoin:
			out = append(out, strconv.Itoa(values[v%len(values)]))
		case v < modelEdge:
			n++
			sum += v
			row := fmt.Sprintf(`{"k":%d,"v":%d}`, k, v)
			if n <= modelLimit {
				out = append(out, row)
			}
			if n <= modelLimit+1 {
				from = append(from, patch.Row{JSON: []byte(row), Hidden: []change.Value{text(k), text(k)}})
			}
		}
	}
	if kind == modelTotals {
		out = []string{fmt.Sprintf(`{"n":%d,"s":%d}`, n, sum)}
		if n == 0 {
			out[0] = `{"n":0,"s":null}`
		}
		from = []patch.Row{{JSON: []byte(out[0]), Hidden: []change.Value{text(n), text(n)}}}
	}
	return []byte("[" + strings.Join(out, ",") + "]"), from
}

var modelKey = []match.KeyColumn{{Column: "k", Type: 23, Class: match.ClassInt}}

var modelPlans = [modelKinds]*patch.Plan{
	modelList: {
		Reads: modelReads, Key: modelKey, Order: []match.OrderColumn{{Column: "k", Type: 23, Class: match.ClassInt}},
		Columns: []patch.Column{{Name: "k", Column: "k", Type: 23, Base: 23}, {Name: "v", Column: "v", Type: 23, Base: 23}},
	},
	modelTotals: {
		Reads: modelReads, Key: modelKey,
		Aggregates: []patch.Aggregate{{Name: "n", Kind: patch.CountRows}, {Name: "s", Kind: patch.Sum, Column: "v", Type: 23, Base: 23}},
	},
}

// modelSource is a query. It may fail where it is not alone.
type modelSource struct {
	m    *model
	kind modelKind
	rows []int
}

// keyed returns the test that a row is one of some.
func keyed(rows []int) match.Test {
	values := make([]match.Datum, len(rows))
	for i, k := range rows {
		values[i] = modelDatum(k)
	}
	return match.Test{Column: "k", Type: 23, Class: match.ClassInt, Op: match.In, Values: values}
}

// deps returns the dependencies at any snapshot, or, refined, those of a result
// at a snapshot where the rows have these values.
func (s *modelSource) deps(refined bool, values []int) []match.Dependency {
	own := match.Dependency{Reads: modelReads, Tests: []match.Test{keyed(s.rows)}}
	switch {
	case s.kind == modelJoin:
		named := match.Dependency{Reads: modelNamed}
		if refined {
			var keys []int
			for _, k := range s.rows {
				keys = append(keys, values[k]%len(values))
			}
			named.Tests = []match.Test{keyed(keys)}
		}
		return []match.Dependency{own, named}
	case s.kind == modelPlain && !refined:
		own.Tests = nil
	case s.kind != modelPlain:
		own.Tests = append(own.Tests, match.Test{
			Column: "v", Type: 23, Class: match.ClassInt, Op: match.Range, Hi: match.Bound{Set: true, Value: modelDatum(modelEdge)},
		})
	}
	return []match.Dependency{own}
}

func modelDatum(n int) match.Datum {
	d, _ := match.ParseDatum(match.ClassInt, []byte(strconv.Itoa(n)))
	return d
}

// result is the answer at the snapshot of now. m.mu is held.
func (s *modelSource) result() Result {
	m := s.m
	body, from := s.kind.read(m.rows, s.rows)
	snap := revision.Snapshot{Xmin: m.next, Xmax: m.next, Xip: slices.Sorted(slices.Values(m.active))}
	if len(snap.Xip) > 0 {
		snap.Xmin = snap.Xip[0]
	}
	res := Result{Body: body, Found: true, Snapshot: snap}
	if modelPlans[s.kind] == nil {
		res.Deps = s.deps(true, m.rows)
	} else {
		b := &patch.Bound{Plan: modelPlans[s.kind], Tests: s.deps(true, nil)[0].Tests, Limit: -1}
		if s.kind == modelList {
			b.Limit, b.Slack = modelLimit, 1
		}
		res.State = patch.Start(b, from)
	}
	return res
}

var (
	errModel   = errors.New("one of them is at fault")
	errCrashed = errors.New("the server crashed")
)

func (s *modelSource) Fill(_ context.Context, qs []*Query) ([]Result, error) {
	s.m.fills.Add(1)
	if len(qs) > 1 && rand.IntN(5) == 0 {
		return nil, errModel
	}
	out := make([]Result, len(qs))
	s.m.mu.Lock()
	life := s.m.life
	for i, q := range qs {
		out[i] = q.Source.(*modelSource).result()
	}
	s.m.mu.Unlock()
	if rand.IntN(2) == 0 {
		time.Sleep(time.Duration(rand.IntN(400)) * time.Microsecond)
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.life != life {
		return nil, errCrashed
	}
	for i := range out {
		out[i].Upper, out[i].After = s.m.insert, s.m.insert
	}
	return out, nil
}

// modelPins holds what the rows read at each pinned snapshot.
var modelPins sync.Map // *Pin → []int

func (s *modelSource) FillAt(_ context.Context, p *Pin) (Result, error) {
	rows, ok := modelPins.Load(p)
	if !ok {
		return Result{}, ErrSnapshotExpired
	}
	body, _ := s.kind.read(rows.([]int), s.rows)
	return Result{Body: body, Found: true, Snapshot: p.Snapshot, Upper: p.Upper}, nil
}

func (tx *modelTx) transaction() *change.Transaction {
	t := &change.Transaction{XID: tx.xid, Commit: tx.end - 4, End: tx.end, Count: len(tx.sets)}
	value := func(n int) change.Value { return change.Value{Kind: change.Text, Text: []byte(strconv.Itoa(n))} }
	for k, s := range tx.sets {
		t.Changes = append(t.Changes, change.Change{
			Op: change.Update, Relation: modelRelation,
			Old: change.Row{value(k), value(s[0])}, New: change.Row{value(k), value(s[1])},
		})
	}
	if tx.xid%7 == 0 {
		kept := t.Changes
		t.Changes = nil
		t.Spilled = func(yield func(*change.Change) error) error {
			for i := range kept {
				if err := yield(&kept[i]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return t
}

var (
	modelReads = &match.Reads{Tables: []catalog.OID{1}, Name: "s.t", Columns: []string{"k", "v"}}
	modelNamed = &match.Reads{Tables: []catalog.OID{1}, Name: "s.t", Columns: []string{"k", "v"}}
)

func modelQuery(m *model, g *Group, kind modelKind, rows []int) *Query {
	src := &modelSource{m, kind, rows}
	return &Query{
		Key: fmt.Sprintf("%d%v", kind, rows), Group: g, TTL: time.Hour, Planned: &Seen{revision.Snapshot{Xmax: 1 << 62, Xmin: 1 << 62}, 1 << 62},
		Deps: src.deps(false, nil), Source: src,
	}
}

func modelGroup(m *model) *Group {
	g := &Group{Name: "g", Batch: m.rng.IntN(5), Counters: &Counters{}}
	g.Query = func(key string) (*Query, error) {
		kind, list, _ := strings.Cut(key, "[")
		n, err := strconv.Atoi(kind)
		var rows []int
		for _, k := range strings.Fields(strings.TrimSuffix(list, "]")) {
			row, _ := strconv.Atoi(k)
			rows = append(rows, row)
		}
		return modelQuery(m, g, modelKind(n), rows), err
	}
	return g
}

// TestModel runs writers, readers at every level and a lagging log against the
// model, and compares every exact reply with the log. Set TIDEMARK_SEED to
// repeat a run's choices.
func TestModel(t *testing.T) {
	for _, crashes := range []bool{false, true} {
		t.Run(fmt.Sprintf("crashes=%v", crashes), func(t *testing.T) { testModel(t, crashes) })
	}
}

func testModel(t *testing.T, crashes bool) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("TIDEMARK_SEED=%d", seed)
	m := newModel(seed, 12)
	m.crashes = crashes
	store := NewStore(Options{
		MaxMemory: 40 << 10, GCWindow: 50 * time.Millisecond, Patience: 5 * time.Millisecond,
		FillTimeout: 5 * time.Second, ProofTimeout: 2 * time.Second, HistoryMemory: 4 << 10,
		Fills: 2 + m.rng.IntN(4), Refills: 1 + m.rng.IntN(8),
	}, revision.Source{}, m.insert)
	defer store.Close()
	store.batch = 2
	store.between = func() {
		if rand.IntN(8) == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	spawn := func(f func(r *rand.Rand)) {
		r := rand.New(rand.NewPCG(m.rng.Uint64(), 2))
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				f(r)
			}
		}()
	}
	for range 3 {
		spawn(m.write)
	}
	if crashes {
		spawn(func(r *rand.Rand) {
			pause(r, 3000)
			m.mu.Lock()
			defer m.mu.Unlock()
			if r.IntN(12) == 0 {
				m.crash()
			} else {
				m.flush()
			}
		})
	}
	sent, life := 0, 0
	spawn(func(r *rand.Rand) { // the log
		select {
		case <-m.wake:
		case <-time.After(time.Millisecond):
		}
		pause(r, 200)
		m.mu.Lock()
		txs := m.log[sent:]
		end, now := m.durable, m.life
		m.mu.Unlock()
		if life != now {
			life = now
			store.Disconnected()
			pause(r, 500)
			store.Connected()
			return
		}
		for i := range txs {
			if txs[i].end > end {
				break
			}
			if err := store.Apply(ctx, txs[i].transaction()); err != nil {
				t.Error(err)
			}
			store.Frontier().Advance(txs[i].end)
			sent++
		}
		store.Frontier().Advance(end)
	})
	spawn(func(r *rand.Rand) { // pins and housekeeping
		session := store.Session()
		m.mu.Lock()
		res := (&modelSource{m: m}).result()
		p := &Pin{Snapshot: res.Snapshot, Upper: m.insert, Taken: time.Now()}
		modelPins.Store(p, append([]int(nil), m.rows...))
		m.mu.Unlock()
		store.AddPin(p)
		pause(r, 1000)
		store.Prove(session, &res.Snapshot)
		time.Sleep(5 * time.Millisecond)
		store.Sweep()
		time.Sleep(5 * time.Millisecond)
		store.RemovePin(p)
		modelPins.Delete(p)
	})
	g := modelGroup(m)
	choose := func(r *rand.Rand) (modelKind, []int) {
		rows := []int{r.IntN(len(m.rows))}
		if r.IntN(3) == 0 {
			rows = append(rows, (rows[0]+1)%len(m.rows), (rows[0]+2)%len(m.rows), (rows[0]+3)%len(m.rows))
		}
		return modelKind(r.IntN(int(modelKinds))), rows
	}
	var exact, inexact, snapshots, expired, together, apart, same, skipped atomic.Int64
	several := func(r *rand.Rand) {
		var qs []*Query
		for range 2 + r.IntN(2) {
			kind, rows := choose(r)
			qs = append(qs, modelQuery(m, g, kind, rows))
		}
		need := Need{Level: revision.Level(r.IntN(4)), Position: store.Frontier().Load() - revision.LSN(r.IntN(100))}
		replies, err := store.ServeTogether(ctx, qs, need)
		if need.Level == revision.AtExactSnapshot && errors.Is(err, ErrSnapshotExpired) || errors.Is(err, errCrashed) || ctx.Err() != nil {
			apart.Add(1)
			return
		}
		if err != nil {
			t.Errorf("together, %s: %v", need.Level, err)
			return
		}
		together.Add(1)
		at := replies[0].At
		if at < need.Position && need.Level != revision.MinimizeLatency || at > store.Frontier().Load() {
			t.Errorf("together, %s at %s: served as of %s", need.Level, need.Position, at)
		}
		for i, reply := range replies {
			src := qs[i].Source.(*modelSource)
			if want := m.at(at, src.kind, src.rows); reply.At != at || !reply.Exact || string(reply.Version.Body) != want {
				t.Errorf("together, %s, %s at %s, %s (exact %v): got %s, want %s",
					need.Level, qs[i].Key, at, reply.At, reply.Exact, reply.Version.Body, want)
			}
		}
	}
	spawn(several)
	spawn(several)
	spawn(func(r *rand.Rand) { // audits
		for _, key := range store.Sample(2) {
			q, err := g.Query(key)
			if err != nil {
				t.Error(err)
				return
			}
			a, err := store.Audit(ctx, q)
			switch {
			case ctx.Err() != nil || errors.Is(err, errCrashed):
			case err != nil:
				t.Errorf("audit: %v", err)
			case a.Verdict == Differs:
				t.Errorf("%s in [%s, %s): the audit at %s has %s and want %s", key, a.From, a.To, a.Position, a.Have, a.Want)
			case a.Verdict == Same:
				same.Add(1)
			default:
				skipped.Add(1)
			}
		}
		pause(r, 2000)
	})
	for range 4 {
		spawn(func(r *rand.Rand) {
			kind, rows := choose(r)
			q := modelQuery(m, g, kind, rows)
			need := Need{Level: revision.Level(r.IntN(4))}
			var acked revision.LSN
			life := 0
			switch need.Level {
			case revision.FullyConsistent:
				m.mu.Lock()
				need.Position, life = m.insert, m.life
				for _, k := range rows {
					acked = max(acked, m.acked[k])
				}
				m.mu.Unlock()
			case revision.AtLeastAsFresh, revision.AtExactSnapshot:
				need.Position = store.Frontier().Load() - revision.LSN(r.IntN(200))
			}
			if err := store.Frontier().Wait(ctx, need.Position); err != nil {
				return
			}
			var reply Reply
			var err error
			if need.Level == revision.AtExactSnapshot {
				if reply, err = store.ServeAt(ctx, q, need.Position); err == ErrSnapshotExpired {
					expired.Add(1)
					return
				}
				snapshots.Add(1)
			} else if v, _, at, _ := store.Hit(q.Key, time.Now()); v != nil && need.Level == revision.MinimizeLatency {
				reply = Reply{Version: v, At: at, Exact: true}
			} else {
				reply, err = store.Serve(ctx, q, need)
			}
			if ctx.Err() != nil || errors.Is(err, errCrashed) {
				return
			}
			if err != nil {
				t.Errorf("%s: %v", need.Level, err)
				return
			}
			if !reply.Exact {
				inexact.Add(1)
				if need.Level == revision.AtLeastAsFresh || need.Level == revision.AtExactSnapshot {
					t.Errorf("%s was given an answer that is not exact", need.Level)
				}
				return
			}
			exact.Add(1)
			if want := m.at(reply.At, kind, rows); string(reply.Version.Body) != want {
				t.Errorf("%s, %s at %s (outcome %d): got %s, want %s", need.Level, q.Key, reply.At, reply.Outcome, reply.Version.Body, want)
			}
			switch need.Level {
			case revision.AtLeastAsFresh:
				if reply.At < need.Position {
					t.Errorf("at_least_as_fresh %s was served as of %s", need.Position, reply.At)
				}
			case revision.AtExactSnapshot:
				if reply.At != need.Position {
					t.Errorf("at_exact_snapshot %s was served as of %s", need.Position, reply.At)
				}
			case revision.FullyConsistent:
				m.mu.Lock()
				undone := m.life != life // what was acknowledged
				m.mu.Unlock()
				if reply.At < acked && !undone {
					t.Errorf("fully_consistent misses what was acknowledged at %s: it was served as of %s", acked, reply.At)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d exact, %d not, %d at snapshots, %d expired, %d together and %d not; %d hits, %d fills of %d answers, %d transactions, %d evictions",
		exact.Load(), inexact.Load(), snapshots.Load(), expired.Load(), together.Load(), apart.Load(), g.Hits.Load(), m.fills.Load(), g.Filled.Load(), len(m.log), store.evictions.Load())
	t.Logf("%d crashes undid %d transactions", m.life, m.undone)
	t.Logf("%d refills, %d patched, %d passed, %d ended, %d compared, %d vain; audits: %d same, %d skipped",
		g.Refills.Load(), g.Patched.Load(), g.Passed.Load(), g.Ended.Load(), g.Compared.Load(), g.Vain.Load(), same.Load(), skipped.Load())
	if crashes && m.undone == 0 || exact.Load() < 50 || g.Hits.Load() == 0 || len(m.log) < 50 || g.Patched.Load() == 0 || same.Load() == 0 {
		t.Error("the run was too quiet to show anything")
	}
	checkAccounts(t, store)
}

// checkAccounts compares the store's sums with what it holds.
func checkAccounts(t *testing.T, s *Store) {
	t.Helper()
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.history.inFlight != [2]int{} {
		t.Errorf("fills in flight after the end: %v", s.history.inFlight)
	}
	if waiting, busy := s.queue.load(); waiting != [priorities]int{} || busy != [priorities]int{} {
		t.Errorf("after the end %v fills wait, and %v slots are in use", waiting, busy)
	}
	var bytes, entries int64
	nodes := 0
	for i := range s.shards {
		n := 0
		for _, e := range s.shards[i].entries {
			n++
			entries++
			size := entryOverhead + int64(len(e.key)) + e.nodes.Size() + stateSize(e.state)
			if v := e.current.Load(); v != nil {
				size += versionSize(v)
			}
			for _, v := range e.kept() {
				size += versionSize(v)
			}
			if size != e.size.Load() {
				t.Errorf("%s counts %d bytes and holds %d", e.key, e.size.Load(), size)
			}
			bytes += size
			nodes += e.nodes.Len()
		}
		for e := s.shards[i].head; e != nil; e = e.next {
			n--
		}
		if n != 0 {
			t.Errorf("shard %d lists %d entries too few", i, n)
		}
	}
	if bytes != s.bytes.Load() || entries != s.entries.Load() || nodes != s.index.Len() {
		t.Errorf("the store counts %d bytes, %d entries, %d nodes; it holds %d, %d, %d",
			s.bytes.Load(), s.entries.Load(), s.index.Len(), bytes, entries, nodes)
	}
}

// TestModelNoticesFaults builds this package with one rule of the seam switched
// off at a time and expects TestModel to fail, or the test of a moment that it seldom meets.
func TestModelNoticesFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the package again; run without -short")
	}
	bin := t.TempDir() + "/answer.test"
	build := exec.Command("go", "test", "-c", "-tags", "seamfault", "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(rule string) (string, error) {
		test := "^TestModel$"
		switch rule {
		case "inside":
			test = "^TestFollowWhileApplied$"
		case "session":
			test = "^TestUndone|^TestModel$/crashes=true"
		}
		cmd := exec.Command(bin, "-test.run", test, "-test.count", "3")
		cmd.Env = append(os.Environ(), "TIDEMARK_SEAM_OFF="+rule)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err != nil {
		t.Fatalf("with every rule in force: %v\n%s", err, out)
	}
	for _, rule := range []string{"compare", "wait", "order", "inside", "session"} {
		if out, err := run(rule); err == nil {
			t.Errorf("without the rule %q nothing was noticed:\n%s", rule, out)
		} else if !strings.Contains(out, "want ") {
			t.Errorf("without the rule %q it failed for another reason:\n%s", rule, out)
		}
	}
}
