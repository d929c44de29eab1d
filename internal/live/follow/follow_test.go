package follow

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func newHub(t testing.TB, h *host, change func(*Options)) *Hub {
	t.Helper()
	opts := Options{Host: h, Dir: filepath.Join(t.TempDir(), "answers"), ChunkBytes: 500}
	if change != nil {
		change(&opts)
	}
	hub := New(opts)
	t.Cleanup(hub.Close)
	return hub
}

// TestDifference takes random rows through differences, also from a file.
func TestDifference(t *testing.T) {
	r := seeded(t)
	d := definition(t)
	h := newHost(t)
	var items []item
	from := &table{columns: 3}
	c := newClient(h, "/x", nil)
	for n := range 400 {
		items = randomItems(r, items)
		h.set("/x", items)
		to, err := d.parse(h.answers["/x"].version.Body)
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.unpack(to.pack())
		if err != nil || len(d.difference(to, again)) > 0 {
			t.Fatal("a table is not what it was when it was packed")
		}
		steps := d.difference(from, to)
		e, told, err := d.encode(steps, live.Offset{LSN: revision.LSN(1000 + n), Index: uint64(n % 3)}, 7)
		if err != nil || len(told) != len(steps) || e.count != uint64(len(steps)) || len(e.topics) != len(steps) {
			t.Fatalf("%d messages of %d steps: %v", e.count, len(steps), err)
		}
		if e.count > 0 {
			record := appendDifference(nil, e, told, 7, live.Offset{LSN: 5, Index: 6})
			payload, size, err := nextRecord(record)
			if err != nil || size != len(record) {
				t.Fatal(err)
			}
			read, err := readDifference(payload)
			if err != nil || read.prev != (live.Offset{LSN: 5, Index: 6}) || read.last() != e.last() {
				t.Fatalf("%+v, %v", read, err)
			}
			back, err := d.entryOf(&read)
			if err != nil || string(back.text) != string(e.text) || !slices.Equal(back.topics, e.topics) {
				t.Fatalf("from a file there is\n%s\nand was\n%s", back.text, e.text)
			}
			steps, _ := read.read(3)
			if from, err = d.apply(from, steps); err != nil || len(d.difference(from, to)) > 0 {
				t.Fatalf("the difference does not lead there: %v", err)
			}
			if err := c.take(&live.Batch{Messages: e.text, End: e.last()}); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := c.content(), texts(items, nil); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		from = to
	}
}

// TestFollow has one follow while the answer changes, and others come later.
func TestFollow(t *testing.T) {
	r := seeded(t)
	h := newHost(t)
	h.set("/v1/items?a=1", nil)
	hub := newHub(t, h, nil)
	a := "a"
	clients := []*client{newClient(h, "/v1/items?a=1", nil), newClient(h, "/v1/items?a=1", &a)}
	var items []item
	for n := range 200 {
		items = randomItems(r, items)
		h.set("/v1/items?a=1", items)
		if n%40 == 0 {
			clients = append(clients, newClient(h, "/v1/items?a=1", []*string{nil, &a}[r.IntN(2)]))
		}
		for i, c := range clients {
			if i%3 == 0 || r.IntN(3) == 0 {
				c.catchUp(t, hub)
			}
		}
	}
	for _, c := range clients {
		c.catchUp(t, hub)
		if len(c.gone) > 0 {
			t.Error(c.gone)
		}
	}
	if s := hub.Stats(); s.Answers != 1 || s.Refreshes > 201 || h.watched() != 1 {
		t.Errorf("%+v, %d watched", s, h.watched())
	}
}

// TestSnapshotStays reads the snapshot of a handle again while the answer changes:
// caches on the way may have any part of it.
func TestSnapshotStays(t *testing.T) {
	r := seeded(t)
	h := newHost(t)
	var items []item
	for n := range 40 {
		items = append(items, item{n, string(rune('a' + n%3)), fmt.Sprint("text ", n)})
	}
	h.set("/x", items)
	hub := newHub(t, h, nil)
	a := "a"
	for _, account := range []*string{nil, &a} {
		s, err := hub.Open(t.Context(), "/x", "", "", account)
		if err != nil {
			t.Fatal(err)
		}
		var chunks []string
		read := func() (out []string) {
			for at := live.Start; ; {
				b, err := s.Next(t.Context(), at)
				if err != nil {
					t.Fatal(err)
				}
				if b.End.LSN != 0 || b.UpToDate {
					return out
				}
				if want := uint64(len(out)); b.End.Index != want || b.SnapshotEnd != strings.Contains(string(b.Messages), "snapshot-end") {
					t.Fatalf("chunk %d ends at %s", want, b.End)
				}
				out, at = append(out, string(b.Messages)), b.End
				if b.SnapshotEnd {
					return out
				}
			}
		}
		chunks = read()
		if len(chunks) < 3 {
			t.Fatalf("%d chunks", len(chunks))
		}
		for range 30 {
			items = randomItems(r, items)
			h.set("/x", items)
			for _, f := range hub.byKey {
				f.sweep(time.Now().Add(2 * viewed)) // nothing is held
			}
			if again := read(); !slices.Equal(again, chunks) {
				t.Fatal("the snapshot has changed")
			}
		}
		// One who read part of it before goes on.
		c := newClient(h, "/x", account)
		c.handle = s.Handle()
		c.catchUp(t, hub)
		if len(c.gone) > 0 {
			t.Error(c.gone)
		}
	}
}

// TestReadingFails has the database away: followers wait, and are not told
// anything that is not so.
func TestReadingFails(t *testing.T) {
	h := newHost(t)
	h.set("/x", []item{{1, "a", "x"}})
	hub := newHub(t, h, nil)
	c := newClient(h, "/x", nil)
	c.catchUp(t, hub)
	away := errors.New("away")
	h.mu.Lock()
	h.fail = func(string) error { return away }
	h.mu.Unlock()
	h.set("/x", nil)
	for range 50 {
		done, err := c.poll(hub)
		if err != nil || !done || len(c.rows) != 1 {
			t.Fatalf("%v, %v", done, err)
		}
		time.Sleep(time.Millisecond)
	}
	h.set("/y", nil)
	if _, err := newClient(h, "/y", nil).poll(hub); !errors.Is(err, away) {
		t.Errorf("a newcomer is told %v", err)
	}
	h.mu.Lock()
	h.fail = nil
	h.mu.Unlock()
	c.catchUp(t, hub)
	newClient(h, "/y", nil).catchUp(t, hub)
	if len(c.gone) > 0 || len(c.rows) != 0 {
		t.Error(c.gone, c.rows)
	}
}

// TestOver names what ends a handle, and what does not.
func TestOver(t *testing.T) {
	begin := func() (*host, *Hub, *client) {
		h := newHost(t)
		h.set("/x", []item{{1, "a", "x"}})
		hub := newHub(t, h, nil)
		c := newClient(h, "/x", nil)
		c.catchUp(t, hub)
		h.set("/x", []item{{2, "a", "x"}})
		c.catchUp(t, hub)
		return h, hub, c
	}
	h, hub, c := begin()
	h.mu.Lock()
	h.def = definition(t)
	h.mu.Unlock()
	h.set("/x", []item{{3, "a", "x"}})
	if c.catchUp(t, hub); len(c.gone) > 0 {
		t.Errorf("after another analysis: %v", c.gone)
	}

	shape, err := hub.Open(t.Context(), "/x", "", c.handle, nil)
	if err != nil {
		t.Fatal(err)
	}
	changed := shape.Changed(c.offset)
	h.mu.Lock()
	h.def = definition(t, "id", "owner", "other")
	h.mu.Unlock()
	h.mu.Lock()
	for _, w := range h.answers["/x"].watchers {
		w.Ended() // as when the answers of the old endpoint go
	}
	a := h.answers["/x"]
	a.watchers = nil
	a.version = &answer.Version{Body: []byte(`[{"id":3,"owner":"a","other":"x"}]`), From: a.version.From, Found: true}
	h.mu.Unlock()
	<-changed.Done()
	gone := (*live.GoneError)(nil)
	if _, err := shape.Next(t.Context(), c.offset); !errors.As(err, &gone) {
		t.Errorf("with other columns: %v", err)
	}
	if c.catchUp(t, hub); len(c.gone) != 1 {
		t.Errorf("with other columns: %v", c.gone)
	}

	h, hub, c = begin()
	h.mu.Lock()
	h.lost = fmt.Errorf("%w: no", ErrNoAnswer)
	for _, w := range h.answers["/x"].watchers {
		w.Ended()
	}
	h.mu.Unlock()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := shapeOf(hub, "/x").Next(t.Context(), c.offset); errors.As(err, &gone) {
			break
		}
	}
	if _, err := c.poll(hub); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("without the endpoint: %v", err)
	}

	// Another log.
	h, hub, c = begin()
	h.mu.Lock()
	h.frontier = revision.NewFrontier(revision.Source{SystemID: 1, Timeline: 2}, h.end)
	h.mu.Unlock()
	h.set("/x", []item{{4, "a", "x"}})
	if c.catchUp(t, hub); len(c.gone) != 1 {
		t.Errorf("with another timeline: %v", c.gone)
	}

	// A new epoch of the same log.
	h, hub, c = begin()
	h.mu.Lock()
	h.frontier = revision.NewFrontier(h.frontier.Source, h.end)
	h.mu.Unlock()
	h.set("/x", []item{{4, "a", "x"}})
	if c.catchUp(t, hub); len(c.gone) != 0 {
		t.Errorf("with another slot: %v", c.gone)
	}

	// Deleted, in memory and in a file.
	for _, inMemory := range []bool{true, false} {
		_, hub, c = begin()
		if !inMemory {
			hub.rest(hub.byKey["/x"], time.Now().Add(24*time.Hour))
		}
		for _, bad := range []string{"", "x", "a-b-c", strings.Replace(c.handle, "-", "-f", 1), "0123456789abcdef-" + c.handle[17:]} {
			if err := hub.Delete(t.Context(), bad); !errors.Is(err, live.ErrNoShape) {
				t.Errorf("delete %q: %v", bad, err)
			}
		}
		if err := hub.Delete(t.Context(), c.handle); err != nil {
			t.Errorf("delete: %v", err)
		}
		if err := hub.Delete(t.Context(), c.handle); !errors.Is(err, live.ErrNoShape) {
			t.Errorf("delete twice: %v", err)
		}
		if c.catchUp(t, hub); len(c.gone) != 1 {
			t.Errorf("after a delete: %v", c.gone)
		}
	}
}

// TestAccounts names what one account may see.
func TestAccounts(t *testing.T) {
	h := newHost(t)
	h.set("/x", []item{{1, "a", "x"}, {2, "b", "y"}})
	hub := newHub(t, h, nil)
	a, b := "a", "b"
	ca, cb := newClient(h, "/x", &a), newClient(h, "/x", &b)
	ca.catchUp(t, hub)
	cb.catchUp(t, hub)
	if ca.handle == cb.handle {
		t.Fatal("two accounts have one handle")
	}
	// With another's handle, one gets a handle and rows of one's own.
	s, err := hub.Open(t.Context(), "/x", "", cb.handle, &a)
	if err != nil || s.Handle() != ca.handle {
		t.Errorf("%v, %v", s, err)
	}
	if s, err := hub.Open(t.Context(), "/x", "", ca.handle, nil); err != nil || s.Handle() == ca.handle {
		t.Errorf("%v, %v", s, err)
	}
	s, _ = hub.Open(t.Context(), "/x", "", ca.handle, &a)
	quiet := s.Changed(ca.offset)
	h.set("/x", []item{{1, "a", "x"}, {2, "b", "z"}})
	cb.catchUp(t, hub)
	select {
	case <-quiet.Done():
		t.Error("one account is woken for another's rows")
	default:
	}
	h.set("/x", []item{{1, "b", "x"}, {2, "b", "z"}})
	<-quiet.Done()
	ca.catchUp(t, hub)
	if len(ca.rows) != 0 {
		t.Error(ca.rows)
	}
	// One of whom nothing is in the log does not fall out of it.
	hub.opts.LogBytes, hub.opts.MemoryBytes = 3000, 500
	for n := range 200 {
		h.set("/x", []item{{1, "b", fmt.Sprint(n, strings.Repeat("x", 50))}})
		cb.catchUp(t, hub)
		ca.catchUp(t, hub)
	}
	if len(ca.gone) > 0 {
		t.Error(ca.gone)
	}
	hub.byKey["/x"].def.Account = -1
	if _, err := hub.Open(t.Context(), "/x", "", "", &a); !errors.Is(err, live.ErrForbidden) {
		t.Errorf("without an account's column: %v", err)
	}
}

// TestShared looks at what followers of one answer have in common.
func TestShared(t *testing.T) {
	h := newHost(t)
	h.set("/x", []item{{1, "a", "x"}})
	hub := newHub(t, h, nil)
	c := newClient(h, "/x", nil)
	c.catchUp(t, hub)
	before := c.offset
	s, _ := hub.Open(t.Context(), "/x", "", c.handle, nil)
	if n := testing.AllocsPerRun(100, func() {
		if s.Changed(before) == nil {
			t.Error("there is more")
		}
	}); n > 0 {
		t.Errorf("waiting takes %v allocations", n)
	}
	h.set("/x", []item{{1, "a", "y"}})
	c.catchUp(t, hub)
	one, err := s.Next(t.Context(), before)
	if err != nil || one.Messages == nil {
		t.Fatal(err)
	}
	other, _ := s.Next(t.Context(), before)
	if one != other || &one.Messages[0] != &hub.byKey["/x"].entries[0].text[0] {
		t.Error("a batch is made twice")
	}
	if s.Changed(before) != nil || s.Changed(c.offset) == nil {
		t.Error("who is behind waits")
	}
	if last, err := s.Last(t.Context()); err != nil || last != c.offset {
		t.Errorf("the last offset is %s, %v", last, err)
	}
	// An offset that was never given is not continued.
	for _, o := range []live.Offset{{LSN: c.offset.LSN, Index: 7}, {LSN: c.offset.LSN + 1}, {LSN: 1}, {Index: 9}, {LSN: c.offset.LSN - 1, Index: 3}} {
		gone := (*live.GoneError)(nil)
		// To be sent back to the same handle looks like a cache that is out of date.
		if _, err := s.Next(t.Context(), o); !errors.As(err, &gone) || gone.Handle == "" || gone.Handle == s.Handle() {
			t.Errorf("from %s: %v, %+v", o, err, gone)
			continue
		}
		if next, err := hub.Open(t.Context(), "/x", "", "", nil); err != nil || next.Handle() != gone.Handle {
			t.Errorf("from %s: newcomers get %v, not %s", o, next, gone.Handle)
		}
	}
	// That is done once, whoever asks for what never was, and others go on.
	if n := len(hub.byKey["/x"].snapshots); n != 2 {
		t.Errorf("%d snapshots", n)
	}
	if b, err := s.Next(t.Context(), c.offset); err != nil || !b.UpToDate {
		t.Errorf("with the old handle: %v", err)
	}
}

// TestReach waits for positions with and without changes.
func TestReach(t *testing.T) {
	h := newHost(t)
	h.set("/x", []item{{1, "a", "x"}})
	hub := newHub(t, h, nil)
	opened, err := hub.Open(t.Context(), "/x", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*shape)
	for n := range 50 {
		h.mu.Lock()
		want := h.end + 10
		h.mu.Unlock()
		done := make(chan error, 1)
		go func() { done <- s.Reach(t.Context(), want) }()
		if n%2 == 0 {
			h.pass()
		} else {
			h.set("/x", []item{{n, "a", "x"}})
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.f.mu.Lock()
		at := s.f.now()
		s.f.mu.Unlock()
		if at < want {
			t.Fatalf("it is at %s and should be at %s", at, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := s.Reach(ctx, 1<<40); err == nil {
		t.Error("it reached what is not there")
	}
}

// shapeOf returns the newest shape of an answer that is in memory.
func shapeOf(hub *Hub, key string) *shape {
	f := hub.byKey[key]
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.next - 1
	return &shape{f, f.handle(n, ""), n, ""}
}
