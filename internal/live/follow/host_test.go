package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// item is a row of the answers of a host.
type item struct {
	ID    int    `json:"id"`
	Owner string `json:"owner"`
	Text  string `json:"text"`
}

// definition has id for a key, which need not be unique, and owner for an account.
func definition(t testing.TB, columns ...string) *Definition {
	t.Helper()
	if columns == nil {
		columns = []string{"id", "owner", "text"}
	}
	e := Endpoint{Name: "items", Key: []int{0}, Account: 1}
	for i, name := range columns {
		typ := &live.Type{OID: 25, Name: "text", Kind: 'b', Mod: -1}
		if i == 0 {
			typ = &live.Type{OID: 23, Name: "int4", Kind: 'b', Mod: -1}
		}
		e.Columns = append(e.Columns, live.Column{Name: name, Type: typ})
	}
	d, err := NewDefinition(e)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// state is what one answer was from a position on.
type state struct {
	from  revision.LSN
	items []item
}

// host is a tenant whose answers are what a test says. It remembers what they
// were at each position.
type host struct {
	mu       sync.Mutex
	def      *Definition
	frontier *revision.Frontier
	end      revision.LSN
	answers  map[string]*hosted
	fail     func(key string) error
	pause    func()
	watching func(key string) // called once a watch has begun
	lost     error            // of Bind
	reads    int
}

type hosted struct {
	version  *answer.Version
	watchers []answer.Watcher
	history  []state
}

func newHost(t testing.TB) *host {
	return &host{def: definition(t), frontier: revision.NewFrontier(revision.Source{SystemID: 1, Timeline: 1}, 1000), end: 1000, answers: map[string]*hosted{}}
}

// set makes items an answer, by a transaction of its own.
func (h *host) set(key string, items []item) {
	h.mu.Lock()
	h.end += 10
	a := h.answers[key]
	if a == nil {
		a = &hosted{}
		h.answers[key] = a
	}
	if items == nil {
		items = []item{}
	}
	body, err := json.Marshal(items)
	if err != nil {
		panic(err)
	}
	a.history = append(a.history, state{h.end, items})
	a.version = &answer.Version{Body: body, From: h.end, Found: true}
	told := a.watchers
	a.watchers = nil
	for _, w := range told {
		w.Ended()
	}
	end, f := h.end, h.frontier
	h.mu.Unlock()
	f.Advance(end)
}

// pass has the frontier go on without a change.
func (h *host) pass() {
	h.mu.Lock()
	h.end += 10
	end, f := h.end, h.frontier
	h.mu.Unlock()
	f.Advance(end)
}

func (h *host) Bind(_ context.Context, path, rawQuery string) (Bound, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost != nil {
		return Bound{}, h.lost
	}
	key := path
	if rawQuery != "" {
		key += "?" + rawQuery
	}
	return Bound{key, h.def}, nil
}

func (h *host) Read(ctx context.Context, key string, notBefore revision.LSN) (Reading, error) {
	if h.pause != nil {
		h.pause()
	}
	if err := h.Frontier().Wait(ctx, notBefore); err != nil {
		return Reading{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	if h.lost != nil {
		return Reading{}, h.lost
	}
	if h.fail != nil {
		if err := h.fail(key); err != nil {
			return Reading{}, err
		}
	}
	a := h.answers[key]
	if a == nil {
		return Reading{}, errors.New("there is no such answer")
	}
	return Reading{Definition: h.def, Source: h.frontier.Source, Version: a.version, At: h.frontier.Load(), Exact: true}, nil
}

func (h *host) Watch(key string, v *answer.Version, w answer.Watcher) bool {
	if !h.watch(key, v, w) {
		return false
	}
	if h.watching != nil {
		h.watching(key)
	}
	return true
}

func (h *host) watch(key string, v *answer.Version, w answer.Watcher) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.answers[key]
	if a == nil || a.version != v {
		return false
	}
	if !slices.Contains(a.watchers, w) {
		a.watchers = append(a.watchers, w)
	}
	return true
}

func (h *host) Unwatch(key string, w answer.Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.answers[key]; a != nil {
		a.watchers = slices.DeleteFunc(a.watchers, func(o answer.Watcher) bool { return o == w })
	}
}

func (h *host) Frontier() *revision.Frontier {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.frontier
}

func (h *host) watched() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, a := range h.answers {
		n += len(a.watchers)
	}
	return n
}

// was returns what an answer was at a position, of one owner if there is one.
func (h *host) was(key string, at revision.LSN, owner *string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var items []item
	for _, s := range h.answers[key].history {
		if s.from <= at {
			items = s.items
		}
	}
	return texts(items, owner)
}

func texts(items []item, owner *string) []string {
	out := []string{}
	for _, i := range items {
		if owner == nil || i.Owner == *owner {
			out = append(out, fmt.Sprintf("%d %s %s", i.ID, i.Owner, i.Text))
		}
	}
	sort.Strings(out)
	return out
}

// client follows one answer.
type client struct {
	h       *host
	key     string
	account *string
	handle  string
	offset  live.Offset
	rows    map[string]item
	at      revision.LSN
	gone    []string
}

func newClient(h *host, key string, account *string) *client {
	c := &client{h: h, key: key, account: account}
	c.begin()
	return c
}

func (c *client) begin() { c.offset, c.rows, c.handle, c.at = live.Start, map[string]item{}, "", 0 }

func (c *client) clone() *client {
	d := *c
	d.rows = maps.Clone(c.rows)
	return &d
}

func (c *client) content() []string {
	return texts(slices.Collect(maps.Values(c.rows)), nil)
}

// poll makes one request of a hub. It reports whether there is no more for now.
func (c *client) poll(hub *Hub) (bool, error) {
	path, query, _ := strings.Cut(c.key, "?")
	s, err := hub.Open(context.Background(), path, query, c.handle, c.account)
	if err != nil {
		return false, err
	}
	if c.handle != "" && s.Handle() != c.handle {
		c.gone = append(c.gone, "another handle")
		c.begin()
	}
	c.handle = s.Handle()
	b, err := s.Next(context.Background(), c.offset)
	if e := (*live.GoneError)(nil); errors.As(err, &e) {
		c.gone = append(c.gone, e.Reason)
		c.begin()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := c.take(b); err != nil {
		return false, err
	}
	if !b.UpToDate {
		return false, nil
	}
	if b.At < c.at {
		return false, fmt.Errorf("up to date as of %s after %s", b.At, c.at)
	}
	c.at = b.At
	if got, want := c.content(), c.h.was(c.key, b.At, c.account); !slices.Equal(got, want) {
		return false, fmt.Errorf("as of %s at %s there is\n%q, and should be\n%q", b.At, c.offset, got, want)
	}
	return true, nil
}

var order = map[string]int{"delete": 0, "update": 1, "insert": 2}

func (c *client) take(b *live.Batch) error {
	var messages []struct {
		Key     string
		Value   map[string]*string
		Headers struct {
			Operation, Control, LSN string
			Position                uint64 `json:"op_position"`
		}
	}
	if err := json.Unmarshal(live.AppendBody(nil, b.Messages), &messages); err != nil {
		return fmt.Errorf("%w in %s", err, b.Messages)
	}
	last, kind := c.offset, 0
	for _, m := range messages {
		h := m.Headers
		if h.Control != "" {
			continue
		}
		if b.End.LSN != 0 {
			at, err := live.ParseOffset(fmt.Sprintf("%s_%d", h.LSN, h.Position))
			if err != nil || at.Compare(last) <= 0 {
				return fmt.Errorf("a message at %s after %s: %v", at, last, err)
			}
			if at.LSN != last.LSN {
				kind = 0
			}
			if last = at; order[h.Operation] < kind {
				return fmt.Errorf("%s at %s comes too late", h.Operation, at)
			}
			kind = order[h.Operation]
		}
		old, known := c.rows[m.Key]
		if known == (h.Operation == "insert") {
			return fmt.Errorf("%s of %s at %s_%d, of which there is %v", h.Operation, m.Key, h.LSN, h.Position, known)
		}
		if h.Operation == "delete" {
			delete(c.rows, m.Key)
			continue
		}
		for name, v := range m.Value {
			switch name {
			case "id":
				fmt.Sscan(*v, &old.ID)
			case "owner":
				old.Owner = *v
			default:
				old.Text = *v
			}
		}
		c.rows[m.Key] = old
	}
	if b.End.Compare(c.offset) < 0 || b.End.Compare(last) < 0 {
		return fmt.Errorf("the offset %s after %s, with messages up to %s", b.End, c.offset, last)
	}
	c.offset = b.End
	return nil
}

// catchUp polls until the client has what there is now.
func (c *client) catchUp(t testing.TB, hub *Hub) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		done, err := c.poll(hub)
		if err != nil {
			t.Fatalf("%s: %v", c.key, err)
		}
		if done && c.at >= c.h.Frontier().Load() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s at %s: as of %s it stays, and the frontier is at %s", c.key, c.offset, c.at, c.h.Frontier().Load())
		}
	}
}

// randomItems changes some of items. Ids are not unique.
func randomItems(r *rand.Rand, items []item) []item {
	out := slices.Clone(items)
	for range r.IntN(4) {
		switch n := r.IntN(6); {
		case n < 2 || len(out) == 0:
			out = append(out, item{r.IntN(30), string(rune('a' + r.IntN(3))), fmt.Sprint("text/", r.IntN(5))})
		case n == 2:
			i := r.IntN(len(out))
			out = slices.Delete(out, i, i+1)
		case n == 3:
			out[r.IntN(len(out))].Owner = string(rune('a' + r.IntN(3)))
		default:
			out[r.IntN(len(out))].Text = strings.Repeat("x\n", r.IntN(40))
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}
