package answer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
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
		next: 100, insert: 1000, wake: make(chan struct{}, 1), acked: make([]revision.LSN, rows),
	}
	return m
}

// write runs one transaction over a few rows: begun, then in the log, then, a
// while later, visible.
func (m *model) write(r *rand.Rand) {
	m.mu.Lock()
	sets := map[int][2]int{}
	for range 1 + r.IntN(3) {
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
	m.mu.Unlock()
	pause(r, 300)
	m.mu.Lock()
	m.insert += revision.LSN(8 + r.IntN(64))
	end := m.insert
	m.log = append(m.log, modelTx{x, end, sets})
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	pause(r, 1500) // the commit is in the log and cannot be seen
	m.mu.Lock()
	for k, s := range sets {
		m.rows[k] = s[1]
		m.locked[k] = false
		m.acked[k] = end
	}
	m.active = remove(m.active, x)
	m.mu.Unlock()
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

// at returns what rows read at a position, from the log alone.
func (m *model) at(p revision.LSN, rows []int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := map[int]int{}
	for _, tx := range m.log {
		if tx.end > p {
			break
		}
		for k, s := range tx.sets {
			values[k] = s[1]
		}
	}
	out := make([]string, len(rows))
	for i, k := range rows {
		out[i] = strconv.Itoa(values[k])
	}
	return strings.Join(out, ",")
}

type modelSource struct {
	m    *model
	rows []int
}

func (s *modelSource) snapshot() Result {
	m := s.m
	out := make([]string, len(s.rows))
	for i, k := range s.rows {
		out[i] = strconv.Itoa(m.rows[k])
	}
	snap := revision.Snapshot{Xmin: m.next, Xmax: m.next, Xip: append([]revision.XID(nil), m.active...)}
	sort.Slice(snap.Xip, func(i, j int) bool { return snap.Xip[i] < snap.Xip[j] })
	if len(snap.Xip) > 0 {
		snap.Xmin = snap.Xip[0]
	}
	return Result{Body: []byte(strings.Join(out, ",")), Found: true, Snapshot: snap}
}

func (s *modelSource) Fill(context.Context) (Result, error) {
	s.m.fills.Add(1)
	s.m.mu.Lock()
	res := s.snapshot()
	s.m.mu.Unlock()
	if rand.IntN(2) == 0 {
		time.Sleep(time.Duration(rand.IntN(400)) * time.Microsecond)
	}
	s.m.mu.Lock()
	res.Upper = s.m.insert
	res.After = s.m.insert
	s.m.mu.Unlock()
	return res, nil
}

// modelPins holds what the rows read at each pinned snapshot.
var modelPins sync.Map // *Pin → []int

func (s *modelSource) FillAt(_ context.Context, p *Pin) (Result, error) {
	rows, _ := modelPins.Load(p)
	out := make([]string, len(s.rows))
	for i, k := range s.rows {
		out[i] = strconv.Itoa(rows.([]int)[k])
	}
	return Result{Body: []byte(strings.Join(out, ",")), Found: true, Snapshot: p.Snapshot, Upper: p.Upper}, nil
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

var modelReads = &match.Reads{Tables: []catalog.OID{1}, Name: "s.t", Columns: []string{"k", "v"}}

func modelQuery(m *model, g *Group, rows []int) *Query {
	values := make([]match.Datum, len(rows))
	for i, k := range rows {
		values[i], _ = match.ParseDatum(match.ClassInt, []byte(strconv.Itoa(k)))
	}
	return &Query{
		Key: fmt.Sprint("/", rows), Group: g, TTL: time.Hour, Planned: &revision.Snapshot{Xmax: 1 << 62, Xmin: 1 << 62},
		Deps:   []match.Dependency{{Reads: modelReads, Tests: []match.Test{{Column: "k", Type: 23, Class: match.ClassInt, Op: match.In, Values: values}}}},
		Source: &modelSource{m, rows},
	}
}

// TestModel runs writers, readers at every level and a lagging log against the
// model, and compares every exact reply with the log. Set TIDEMARK_SEED to
// repeat a run's choices.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("TIDEMARK_SEED=%d", seed)
	m := newModel(seed, 12)
	store := NewStore(Options{
		MaxMemory: 24 << 10, GCWindow: 50 * time.Millisecond, Patience: 5 * time.Millisecond,
		FillTimeout: 5 * time.Second, ProofTimeout: 2 * time.Second, HistoryMemory: 4 << 10,
	}, revision.Source{}, m.insert)
	defer store.Close()
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
	sent := 0
	spawn(func(r *rand.Rand) { // the log
		select {
		case <-m.wake:
		case <-time.After(time.Millisecond):
		}
		pause(r, 200)
		m.mu.Lock()
		txs := m.log[sent:]
		end := m.insert
		m.mu.Unlock()
		for i := range txs {
			if err := store.Apply(ctx, txs[i].transaction()); err != nil {
				t.Error(err)
			}
			store.Frontier().Advance(txs[i].end)
			sent++
		}
		store.Frontier().Advance(end)
	})
	spawn(func(r *rand.Rand) { // pins and housekeeping
		all := make([]int, len(m.rows))
		for i := range all {
			all[i] = i
		}
		m.mu.Lock()
		src := &modelSource{m, all}
		res := src.snapshot()
		p := &Pin{Snapshot: res.Snapshot, Upper: m.insert, Taken: time.Now()}
		modelPins.Store(p, append([]int(nil), m.rows...))
		m.mu.Unlock()
		store.AddPin(p)
		store.Prove(&res.Snapshot)
		time.Sleep(5 * time.Millisecond)
		store.Sweep()
		time.Sleep(5 * time.Millisecond)
		store.RemovePin(p)
		modelPins.Delete(p)
	})
	g := &Group{Name: "g", Counters: &Counters{}}
	var exact, inexact, snapshots, expired atomic.Int64
	for range 4 {
		spawn(func(r *rand.Rand) {
			rows := []int{r.IntN(len(m.rows))}
			if r.IntN(3) == 0 {
				rows = append(rows, (rows[0]+1)%len(m.rows))
			}
			q := modelQuery(m, g, rows)
			need := Need{Level: revision.Level(r.IntN(4))}
			var acked revision.LSN
			switch need.Level {
			case revision.FullyConsistent:
				m.mu.Lock()
				need.Position = m.insert
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
			if ctx.Err() != nil {
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
			if want := m.at(reply.At, rows); string(reply.Version.Body) != want {
				t.Errorf("%s, rows %v at %s (outcome %d): got %s, want %s", need.Level, rows, reply.At, reply.Outcome, reply.Version.Body, want)
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
				if reply.At < acked {
					t.Errorf("fully_consistent misses what was acknowledged at %s: it was served as of %s", acked, reply.At)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d exact, %d not, %d at snapshots, %d expired; %d hits, %d fills, %d transactions, %d evictions",
		exact.Load(), inexact.Load(), snapshots.Load(), expired.Load(), g.Hits.Load(), m.fills.Load(), len(m.log), store.evictions.Load())
	if exact.Load() < 100 || g.Hits.Load() == 0 || len(m.log) < 50 {
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
	var bytes, entries int64
	nodes := 0
	for i := range s.shards {
		n := 0
		for _, e := range s.shards[i].entries {
			n++
			entries++
			size := entryOverhead + int64(len(e.key)) + nodeOverhead*int64(len(e.nodes))
			if v := e.current.Load(); v != nil {
				size += versionSize(v)
			}
			for _, v := range e.kept {
				size += versionSize(v)
			}
			if size != e.size.Load() {
				t.Errorf("%s counts %d bytes and holds %d", e.key, e.size.Load(), size)
			}
			bytes += size
			nodes += len(e.nodes)
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
// off at a time and expects TestModel to fail.
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
		cmd := exec.Command(bin, "-test.run", "^TestModel$", "-test.count", "3")
		cmd.Env = append(os.Environ(), "TIDEMARK_SEAM_OFF="+rule)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err != nil {
		t.Fatalf("with every rule in force: %v\n%s", err, out)
	}
	for _, rule := range []string{"compare", "wait", "order"} {
		if out, err := run(rule); err == nil {
			t.Errorf("without the rule %q nothing was noticed:\n%s", rule, out)
		} else if !strings.Contains(out, "want ") {
			t.Errorf("without the rule %q it failed for another reason:\n%s", rule, out)
		}
	}
}
