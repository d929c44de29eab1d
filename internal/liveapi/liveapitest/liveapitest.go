// Package liveapitest has shapes in memory, for tests of what serves shapes.
package liveapitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Source is the log that positions are of.
var Source = revision.Source{SystemID: 7, Timeline: 1}

// Host is a tenant of which all is known. It implements liveapi.Host.
type Host struct {
	Frontier *revision.Frontier
	Own      map[string][]string // parameters of endpoints, by path
	Patience time.Duration

	mu    sync.Mutex
	state string
	end   revision.LSN // of the database's log
}

// NewHost returns a host whose database's log, and frontier, ends at a position.
func NewHost(at revision.LSN) *Host {
	return &Host{Frontier: revision.NewFrontier(Source, at), Patience: 100 * time.Millisecond, state: "active", end: at}
}

// SetHealth sets what Health says.
func (h *Host) SetHealth(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = s
}

// Health implements liveapi.Host.
func (h *Host) Health() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// SetEnd says how far the database has written its log.
func (h *Host) SetEnd(lsn revision.LSN) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end = lsn
}

// Ask implements revision.Primary.
func (h *Host) Ask(context.Context) (revision.Position, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return revision.Position{Source: Source, Insert: h.end, Flush: h.end}, nil
}

// Pass implements liveapi.Host.
func (h *Host) Pass(ctx context.Context, req revision.Requirement) (revision.Passage, error) {
	ctx, cancel := context.WithTimeout(ctx, h.Patience)
	defer cancel()
	g := revision.Gate{
		Frontier: h.Frontier, Primary: h, Patience: h.Patience / 2,
		Committed: func(revision.XID) (revision.LSN, bool) { return 0, false },
	}
	return g.Pass(ctx, req)
}

// Token implements liveapi.Host.
func (h *Host) Token(at revision.LSN) string { return revision.Token{Source: Source, LSN: at}.String() }

// Takes implements liveapi.Host.
func (h *Host) Takes(path, name string) bool { return slices.Contains(h.Own[path], name) }

// Shape is a shape in memory. It implements live.Shape.
type Shape struct {
	name, schema string
	// Chunk is how many messages a batch has at most; 0: all. With Even, one that
	// has as many is not up to date even if there is no more.
	Chunk int
	Even  bool
	// OnChanged, if not nil, is called before each call of Changed does anything.
	OnChanged func()

	mu      sync.Mutex
	rows    [][]string // chunks of the snapshot
	begin   revision.LSN
	log     []message
	visible revision.LSN
	gone    error
	changed *live.News
	batches map[live.Offset]*live.Batch
	looks   int
}

type message struct {
	at   live.Offset
	text string
}

// NewShape returns a shape with a snapshot in chunks, taken at a position.
func NewShape(handle string, at revision.LSN, chunks ...[]string) *Shape {
	return &Shape{
		name: handle, schema: `{"id":{"type":"int4"},"v":{"type":"text"}}`, rows: chunks, begin: at, visible: at,
		changed: &live.News{}, batches: map[live.Offset]*live.Batch{},
	}
}

// Row returns a message as a snapshot has it.
func Row(id int, v string) string {
	return fmt.Sprintf(`{"key":"\"public\".\"t\"/\"%d\"","value":{"id":"%d","v":%q},"headers":{"operation":"insert","relation":["public","t"]}}`, id, id, v)
}

// Change returns a message of a change.
func Change(operation string, at live.Offset, id int, v string) string {
	return fmt.Sprintf(`{"key":"\"public\".\"t\"/\"%d\"","value":{"id":"%d","v":%q},"headers":{"operation":%q,"relation":["public","t"],"lsn":"%d","op_position":%d,"txids":[%d]}}`,
		id, id, v, operation, at.LSN, at.Index, at.LSN)
}

// Commit appends the messages of a transaction that ends at a position.
func (s *Shape) Commit(end revision.LSN, messages ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range messages {
		s.log = append(s.log, message{live.Offset{LSN: end, Index: uint64(2 * i)}, m})
	}
	s.visible = end
	s.wake()
}

// Insert commits the insertion of one row.
func (s *Shape) Insert(end revision.LSN, id int, v string) {
	s.Commit(end, Change("insert", live.Offset{LSN: end}, id, v))
}

// Advance makes a position visible up to which there was nothing.
func (s *Shape) Advance(lsn revision.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visible = lsn
	clear(s.batches)
}

// End ends the shape: with a GoneError, or another error.
func (s *Shape) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = err
	s.wake()
}

func (s *Shape) wake() {
	clear(s.batches)
	s.changed.Tell()
	s.changed = &live.News{}
}

// Looks returns how often Next was called.
func (s *Shape) Looks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// Handle implements live.Shape.
func (s *Shape) Handle() string { return s.name }

// Schema implements live.Shape.
func (s *Shape) Schema() string { return s.schema }

// Last implements live.Shape.
func (s *Shape) Last(context.Context) (live.Offset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return live.Offset{LSN: s.visible, Index: live.Whole}, s.gone
}

// Changed implements live.Shape.
func (s *Shape) Changed(after live.Offset) *live.News {
	if s.OnChanged != nil {
		s.OnChanged()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil || after.LSN == 0 || len(s.log) > 0 && s.log[len(s.log)-1].at.Compare(after) > 0 {
		return nil
	}
	return s.changed
}

// Next implements live.Shape.
func (s *Shape) Next(ctx context.Context, after live.Offset) (*live.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.gone != nil {
		return nil, s.gone
	}
	if b := s.batches[after]; b != nil {
		return b, nil
	}
	b, err := s.next(after)
	if err == nil {
		s.batches[after] = b
	}
	return b, err
}

func (s *Shape) next(after live.Offset) (*live.Batch, error) {
	if chunk := after.Index + 1; after.LSN == 0 && chunk < uint64(len(s.rows)) || after == live.Start {
		b := &live.Batch{End: live.Offset{Index: chunk}}
		var rows []string
		if len(s.rows) > 0 {
			rows = slices.Clone(s.rows[chunk])
		}
		if chunk+1 >= uint64(len(s.rows)) {
			b.SnapshotEnd = true
			rows = append(rows, `{"headers":{"control":"snapshot-end","xmin":"1","xmax":"2","xip_list":[]}}`)
		}
		b.Messages = []byte(strings.Join(rows, ",\n"))
		return b, nil
	}
	if after.LSN != 0 && after.LSN < s.begin {
		return nil, &live.GoneError{Reason: "it is from before the handle began"}
	}
	b := &live.Batch{End: after, At: s.visible, UpToDate: true}
	var texts []string
	for _, m := range s.log {
		if m.at.Compare(after) <= 0 {
			continue
		}
		if s.Chunk > 0 && len(texts) == s.Chunk {
			b.UpToDate, b.At = false, 0
			break
		}
		texts, b.End = append(texts, m.text), m.at
	}
	if s.Even && len(texts) == s.Chunk {
		b.UpToDate, b.At = false, 0
	}
	if b.UpToDate && after.LSN == 0 && len(texts) == 0 {
		b.End = live.Offset{LSN: s.begin, Index: live.Whole}
	}
	b.Messages = []byte(strings.Join(texts, ",\n"))
	return b, nil
}

// Tables is a set of tables. It implements live.Tables.
type Tables struct {
	mu     sync.Mutex
	shapes map[string]*Shape
	opened []live.Definition
	subs   []live.Subset
	// OpenErr, if not nil, is what Open fails with.
	OpenErr error
}

// Set sets the shape that all definitions of a table have.
func (t *Tables) Set(table string, s *Shape) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shapes == nil {
		t.shapes = map[string]*Shape{}
	}
	t.shapes[table] = s
}

// Last returns the definition that was opened last.
func (t *Tables) Last() live.Definition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened[len(t.opened)-1]
}

// LastSubset returns the subset that was asked for last.
func (t *Tables) LastSubset() live.Subset {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.subs[len(t.subs)-1]
}

// Open implements live.Tables.
func (t *Tables) Open(_ context.Context, d live.Definition, _ string) (live.Shape, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened = append(t.opened, d)
	switch s := t.shapes[d.Table]; {
	case t.OpenErr != nil:
		return nil, t.OpenErr
	case strings.HasPrefix(d.Where, "bad"):
		return nil, &live.RequestError{Field: "where", Message: `At location 17: syntax error at or near "bad"`, Hint: "mend it"}
	case s == nil:
		return nil, &live.RequestError{Field: "table", Message: "there is no such table"}
	case d.Account != nil && *d.Account == "stranger":
		return nil, live.ErrForbidden
	default:
		return s, nil
	}
}

// Subset implements live.Tables.
func (t *Tables) Subset(_ context.Context, d live.Definition, s live.Subset) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opened, t.subs = append(t.opened, d), append(t.subs, s)
	return []byte(`{"metadata":{"xmin":"1","xmax":"2","xip_list":[],"snapshot_mark":5,"database_lsn":"1"},"data":[]}`), nil
}

// Delete implements live.Tables.
func (t *Tables) Delete(_ context.Context, d *live.Definition, handle string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, s := range t.shapes {
		if d != nil && d.Table == name || d == nil && handle == s.name {
			delete(t.shapes, name)
			return nil
		}
	}
	return live.ErrNoShape
}

// Answers is a set of endpoints' answers. It implements live.Answers.
type Answers struct {
	mu     sync.Mutex
	shapes map[string]*Shape
	// Missing is what Open fails with for a path that has no answer.
	Missing error
	last    *string // the account of the last request
}

// Set sets the shape of a path with its query.
func (a *Answers) Set(uri string, s *Shape) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shapes == nil {
		a.shapes = map[string]*Shape{}
	}
	a.shapes[uri] = s
}

// Account returns the account that was asked for last.
func (a *Answers) Account() *string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// Open implements live.Answers.
func (a *Answers) Open(_ context.Context, path, rawQuery, _ string, account *string) (live.Shape, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = account
	if rawQuery != "" {
		path += "?" + rawQuery
	}
	if s := a.shapes[path]; s != nil {
		return s, nil
	}
	if a.Missing != nil {
		return nil, a.Missing
	}
	return nil, live.ErrNoShape
}

// Delete implements live.Answers.
func (a *Answers) Delete(_ context.Context, handle string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uri, s := range a.shapes {
		if s.name == handle {
			delete(a.shapes, uri)
			return nil
		}
	}
	return live.ErrNoShape
}
