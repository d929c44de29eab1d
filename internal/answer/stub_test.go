package answer

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// stub is a database that does what a test says, with a log that has no more
// than what the test applies. Each answer hangs on one row of modelRelation.
type stub struct {
	t     *testing.T
	store *Store
	group *Group
	end   revision.LSN
	xid   revision.XID

	mu      sync.Mutex
	calls   [][]string // keys of each call of Fill
	running int
	most    int // calls at once
	body    func(key string) string
	state   func(key string) *patch.State
	fail    func(keys []string) error
	gate    chan struct{} // when set, a call waits for one receive
	started chan []string // when set, a call says that it began
}

func newStub(t *testing.T, opts Options) *stub {
	s := &stub{t: t, end: 1000, xid: 100, body: func(key string) string { return key }}
	opts.GCWindow = time.Hour
	s.store = NewStore(opts, revision.Source{}, s.end)
	s.group = s.newGroup("g")
	t.Cleanup(s.store.Close)
	return s
}

func (s *stub) newGroup(name string) *Group {
	g := &Group{Name: name, Counters: &Counters{}}
	g.Query = func(key string) (*Query, error) { return s.query(g, key), nil }
	return g
}

func (s *stub) query(g *Group, key string) *Query {
	row, _ := strconv.Atoi(key[len(g.Name):])
	return &Query{
		Key: key, Group: g, TTL: time.Hour, Planned: &Seen{revision.Snapshot{Xmin: 1 << 40, Xmax: 1 << 40}, 1 << 40}, Source: s,
		Deps: []match.Dependency{{Reads: modelReads, Tests: []match.Test{
			{Column: "k", Type: 23, Class: match.ClassInt, Op: match.Equal, Values: []match.Datum{modelDatum(row)}},
		}}},
	}
}

func (s *stub) Fill(ctx context.Context, qs []*Query) ([]Result, error) {
	var keys []string
	for _, q := range qs {
		keys = append(keys, q.Key)
	}
	s.mu.Lock()
	s.calls = append(s.calls, keys)
	s.running++
	s.most = max(s.most, s.running)
	gate, started, fail := s.gate, s.started, s.fail
	out := make([]Result, len(qs))
	for i, key := range keys {
		out[i] = Result{Body: []byte(s.body(key)), Found: true, Snapshot: revision.Snapshot{Xmin: s.xid, Xmax: s.xid}, Upper: s.end, After: s.end}
		if s.state != nil {
			out[i].State = s.state(key)
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	if started != nil {
		started <- keys
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if fail != nil {
		if err := fail(keys); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *stub) FillAt(context.Context, *Pin) (Result, error) { return Result{}, ErrSnapshotExpired }

// transaction makes the next transaction of the log, visible to the queries that
// come after it.
func (s *stub) transaction(changes ...change.Change) *change.Transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end += 100
	x := s.xid
	s.xid++
	return &change.Transaction{XID: x, Commit: s.end - 10, End: s.end, Changes: changes, Count: len(changes)}
}

func (s *stub) apply(t *change.Transaction) {
	s.t.Helper()
	if err := s.store.Apply(context.Background(), t); err != nil {
		s.t.Error(err)
	}
	s.store.Frontier().Advance(t.End)
}

func (s *stub) serve(key string) Reply {
	s.t.Helper()
	r, err := s.store.Serve(context.Background(), s.query(s.group, key), Need{})
	if err != nil {
		s.t.Errorf("%s: %v", key, err)
	}
	return r
}

// locked changes what the next calls of Fill do.
func (s *stub) locked(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *stub) hit(key string) bool {
	v, _, _, _ := s.store.Hit(key, time.Now())
	return v != nil
}

func (s *stub) filled() (calls, answers int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keys := range s.calls {
		answers += len(keys)
	}
	return len(s.calls), answers
}

// until waits for something that other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it did not come about", what)
		}
	}
}

func stubRow(k, v int) change.Row {
	text := func(n int) change.Value { return change.Value{Kind: change.Text, Text: []byte(fmt.Sprint(n))} }
	return change.Row{text(k), text(v)}
}

func update(k, from, to int) change.Change {
	return change.Change{Op: change.Update, Relation: modelRelation, Old: stubRow(k, from), New: stubRow(k, to)}
}
