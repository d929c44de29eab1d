package livetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// event is what a stream of the node process tells.
type event struct {
	Request  *request         `json:"request"`
	Messages []message        `json:"messages"`
	Offset   string           `json:"offset"`
	Handle   string           `json:"handle"`
	Rows     []map[string]any `json:"rows"`
	Error    *streamError     `json:"error"`
}

type request struct {
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Failed  string            `json:"failed"`
}

func (r request) param(name string) string {
	u, err := url.Parse(r.URL)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

type streamError struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Status  int    `json:"status"`
	JSON    any    `json:"json"`
}

// message is one of the log, as a client hands it to its subscribers.
type message struct {
	Key      string         `json:"key"`
	Value    map[string]any `json:"value"`
	OldValue map[string]any `json:"old_value"`
	Headers  struct {
		Operation string   `json:"operation"`
		Control   string   `json:"control"`
		LSN       string   `json:"lsn"`
		Position  *int64   `json:"op_position"`
		TxIDs     []int64  `json:"txids"`
		Relation  []string `json:"relation"`
		Seen      string   `json:"global_last_seen_lsn"`
		Last      bool     `json:"last"`
		Mark      any      `json:"snapshot_mark"`
	} `json:"headers"`
}

// place is where in the log a message stands.
func (m *message) place() (lsn uint64, position int64, ok bool) {
	if m.Headers.LSN == "" || m.Headers.Position == nil {
		return 0, 0, false
	}
	lsn, err := strconv.ParseUint(m.Headers.LSN, 10, 64)
	return lsn, *m.Headers.Position, err == nil
}

// following says what a stream follows and how.
type following struct {
	path    string         // /v1/shape if it is empty
	params  map[string]any // of the client's option params
	sse     bool
	changes bool // log=changes_only
	offset  string
	handle  string
	headers map[string]string
	typed   bool // values as the client parses them, not as their text
}

// follower holds one stream of a client to the rules of the log and to the
// states that its view had. What is wrong it keeps, and reports at the next
// settle or close.
type follower struct {
	t    testing.TB
	node *node
	name string
	view *view
	following

	mu       sync.Mutex
	told     chan struct{} // closed and renewed with each event
	closed   bool
	rows     map[string]map[string]any
	log      []message // of the stream, in order, without those of snapshots
	all      []message
	states   []string // at each up-to-date, without repetitions
	shape    string   // what the client's Shape says
	lsn      uint64   // of the last message
	position int64
	seen     uint64 // the greatest global_last_seen_lsn
	upToDate int
	refetch  int
	requests []request
	errors   []streamError
	offset   string
	handle   string
	wrong    []string
}

var names struct {
	sync.Mutex
	n int
}

// follow opens a stream in the node process. v may be nil.
func (n *node) follow(t testing.TB, base string, v *view, o following) *follower {
	t.Helper()
	names.Lock()
	names.n++
	name := fmt.Sprintf("s%d", names.n)
	names.Unlock()
	f := &follower{
		t: t, node: n, name: name, view: v, following: o, told: make(chan struct{}), rows: map[string]map[string]any{},
		offset: o.offset, handle: o.handle,
	}
	n.mu.Lock()
	n.streams[name] = f
	n.mu.Unlock()
	n.send(map[string]any{"do": "open", "stream": name, "options": f.options(base), "plain": !o.typed})
	t.Cleanup(f.close)
	return f
}

// options are those of ShapeStream.
func (o *following) options(base string) map[string]any {
	path := cmp.Or(o.path, "/v1/shape")
	m := map[string]any{"url": base + path, "params": o.params, "liveSse": o.sse}
	if o.changes {
		m["log"] = "changes_only"
	}
	if o.offset != "" {
		m["offset"] = o.offset
	}
	if o.handle != "" {
		m["handle"] = o.handle
	}
	if o.headers != nil {
		m["headers"] = o.headers
	}
	return m
}

// resumed is a stream that has got what f has, and goes on where f is.
func (f *follower) resumed(n *node, base string) *follower {
	f.t.Helper()
	f.mu.Lock()
	o, rows := f.following, map[string]map[string]any{}
	o.offset, o.handle = f.offset, f.handle
	for k, row := range f.rows {
		rows[k] = row
	}
	states, lsn, position := slices.Clone(f.states), f.lsn, f.position
	f.mu.Unlock()
	g := &follower{
		t: f.t, node: n, name: f.name + "'", view: f.view, following: o, told: make(chan struct{}), rows: rows,
		offset: o.offset, handle: o.handle, states: states, lsn: lsn, position: position,
	}
	n.mu.Lock()
	n.streams[g.name] = g
	n.mu.Unlock()
	n.send(map[string]any{"do": "open", "stream": g.name, "options": o.options(base), "plain": !o.typed})
	f.t.Cleanup(g.close)
	return g
}

// close ends the stream.
func (f *follower) close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	wrong := f.wrong
	f.mu.Unlock()
	select {
	case <-f.node.done:
	default:
		f.node.send(map[string]any{"do": "close", "stream": f.name})
	}
	f.node.mu.Lock()
	delete(f.node.streams, f.name)
	f.node.mu.Unlock()
	for _, w := range wrong {
		f.t.Errorf("%s: %s", f.name, w)
	}
}

// take takes one event.
func (f *follower) take(e event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if e.Request != nil {
		f.requests = append(f.requests, *e.Request)
	}
	if e.Error != nil {
		f.errors = append(f.errors, *e.Error)
	}
	for i := range e.Messages {
		f.message(&e.Messages[i])
	}
	if e.Messages != nil {
		f.offset, f.handle = e.Offset, e.Handle
	}
	if e.Rows != nil {
		f.shape = stateOf(slices.Values(e.Rows))
	}
	close(f.told)
	f.told = make(chan struct{})
}

func (f *follower) complain(format string, args ...any) {
	if len(f.wrong) < 10 {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// message applies one message to the rows, and says where it breaks a rule.
func (f *follower) message(m *message) {
	f.all = append(f.all, *m)
	switch m.Headers.Control {
	case "":
	case "up-to-date":
		f.upToDate++
		if n, err := strconv.ParseUint(m.Headers.Seen, 10, 64); err == nil {
			if n < f.seen && f.refetch == 0 {
				f.complain("up to date at %d, after %d", n, f.seen)
			}
			f.seen = max(f.seen, n)
		}
		if s := f.state(); len(f.states) == 0 || f.states[len(f.states)-1] != s {
			f.states = append(f.states, s)
		}
		return
	case "must-refetch":
		f.refetch++
		clear(f.rows)
		f.lsn, f.position = 0, 0
		return
	default:
		return
	}
	f.place(m)
	old, known := f.rows[m.Key]
	if f.changes && !known && m.Headers.Operation != "insert" {
		return // a row that this client has not asked for
	}
	full := f.params["replica"] == "full"
	switch m.Headers.Operation {
	case "insert":
		if known && !f.changes {
			f.complain("insert of %s, which was there", m.Key)
		}
		f.rows[m.Key] = m.Value
	case "update":
		if !known {
			f.complain("update of %s, which was not there", m.Key)
		}
		if full && !f.changes {
			f.whole(m, old)
		}
		row := map[string]any{}
		for k, v := range old {
			row[k] = v
		}
		for k, v := range m.Value {
			row[k] = v
		}
		f.rows[m.Key] = row
	case "delete":
		if !known {
			f.complain("delete of %s, which was not there", m.Key)
		}
		if full && !f.changes && !reflect.DeepEqual(m.Value, old) {
			f.complain("delete of %s has %v, it was %v", m.Key, m.Value, old)
		}
		delete(f.rows, m.Key)
	default:
		f.complain("operation %q", m.Headers.Operation)
	}
}

// place holds the order of the log: a message comes once, and after those before it.
func (f *follower) place(m *message) {
	lsn, position, ok := m.place()
	if !ok {
		return
	}
	f.log = append(f.log, *m)
	if lsn < f.lsn || lsn == f.lsn && position <= f.position {
		f.complain("%s of %s at %d/%d after one at %d/%d", m.Headers.Operation, m.Key, lsn, position, f.lsn, f.position)
	}
	f.lsn, f.position = lsn, position
}

// whole holds an update of replica=full to what the client had.
func (f *follower) whole(m *message, old map[string]any) {
	if len(m.Value) != len(old) {
		f.complain("update of %s has the columns of %v, the row those of %v", m.Key, m.Value, old)
	}
	for k, v := range m.Value {
		was, told := m.OldValue[k]
		if changed := !reflect.DeepEqual(v, old[k]); changed != told {
			f.complain("update of %s: column %s was %v and is %v, and old_value is %v", m.Key, k, old[k], v, m.OldValue)
		} else if told && !reflect.DeepEqual(was, old[k]) {
			f.complain("update of %s: the old value of %s is %v, it was %v", m.Key, k, was, old[k])
		}
	}
}

func (f *follower) state() string {
	return stateOf(func(yield func(map[string]any) bool) {
		for _, row := range f.rows {
			if !yield(row) {
				return
			}
		}
	})
}

// stateOf is a set of rows as a text that is the same for the same rows.
func stateOf(rows func(func(map[string]any) bool)) string {
	lines := []string{}
	for row := range rows {
		b, err := json.Marshal(row)
		if err != nil {
			panic(err)
		}
		lines = append(lines, string(b))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// until waits for a condition, which is looked at under the lock.
func (f *follower) until(what string, ok func() bool) {
	f.t.Helper()
	late := time.NewTimer(settleTimeout)
	defer late.Stop()
	for {
		f.mu.Lock()
		fine, told, errors := ok(), f.told, f.errors
		f.mu.Unlock()
		if fine {
			return
		}
		if len(errors) > 0 {
			f.t.Fatalf("%s: waiting for %s: the stream has ended: %+v\n%s", f.name, what, errors, f.story())
		}
		select {
		case <-told:
		case <-late.C:
			f.t.Fatalf("%s: %s did not come within %s\n%s", f.name, what, settleTimeout, f.story())
		case <-f.node.done:
			f.t.Fatalf("%s: waiting for %s: the node process has ended", f.name, what)
		}
	}
}

// settle waits until the client has what the database has, and reports what was
// wrong on the way.
func (f *follower) settle() {
	f.t.Helper()
	want := f.view.last()
	f.until("the state of the database:\n"+want, func() bool {
		return f.upToDate > 0 && len(f.states) > 0 && f.states[len(f.states)-1] == want && (f.typed || f.handleIsResumed() || f.shape == want)
	})
	f.judge()
}

// handleIsResumed says that the client's Shape began in the middle, and lacks
// the rows before.
func (f *follower) handleIsResumed() bool {
	return f.following.handle != "" && f.refetch == 0
}

// judge reports what was wrong so far.
func (f *follower) judge() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.wrong {
		f.t.Errorf("%s: %s", f.name, w)
	}
	f.wrong = nil
	if f.view == nil {
		return
	}
	if at := f.view.follows(f.states); at >= 0 {
		f.t.Errorf("%s: state %d of %d is none that the database had after the one before:\n%s\nbefore:\n%s", f.name, at, len(f.states), f.states[at],
			strings.Join(f.states[max(0, at-1):at], ""))
	}
}

// story tells what came, for a failure.
func (f *follower) story() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "offset %s, handle %s, %d times up to date, state:\n%s\nwhat the client's Shape has:\n%s\n", f.offset, f.handle, f.upToDate, f.state(), f.shape)
	for _, r := range f.requests[max(0, len(f.requests)-8):] {
		fmt.Fprintf(&b, "%s %s -> %d %s\n", r.Method, r.URL, r.Status, r.Failed)
	}
	for i := max(0, len(f.all)-12); i < len(f.all); i++ {
		m, _ := json.Marshal(f.all[i])
		fmt.Fprintf(&b, "%.300s\n", m)
	}
	for _, w := range f.wrong {
		fmt.Fprintln(&b, w)
	}
	return b.String()
}

// operations are the messages of the log as "operation key".
func (f *follower) operations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops := []string{}
	for _, m := range f.log {
		ops = append(ops, m.Headers.Operation+" "+m.Key)
	}
	return ops
}

// asked returns the requests so far.
func (f *follower) asked() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}
