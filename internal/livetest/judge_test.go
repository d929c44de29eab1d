package livetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// script serves a log that is written down: each line is one message, and
// position i is after i lines. It is no more than the client needs.
type script struct {
	lines []string

	mu    sync.Mutex
	shown int // lines that there are so far
	more  chan struct{}
}

func (s *script) show(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = n
	close(s.more)
	s.more = make(chan struct{})
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from := 0
	if q.Get("offset") != "-1" {
		fmt.Sscanf(q.Get("offset"), "%d_", &from)
	}
	s.mu.Lock()
	shown, more := s.shown, s.more
	s.mu.Unlock()
	if q.Get("live") == "true" {
		for shown <= from {
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
			s.mu.Lock()
			shown, more = s.shown, s.more
			s.mu.Unlock()
		}
	}
	messages := append([]string{}, s.lines[from:shown]...)
	messages = append(messages, `{"headers":{"control":"up-to-date"}}`)
	h := w.Header()
	h.Set("electric-handle", "h")
	h.Set("electric-offset", fmt.Sprintf("%d_0", shown))
	h.Set("electric-schema", `{"id":{"type":"int4","dims":0},"n":{"type":"int4","dims":0}}`)
	h.Set("electric-cursor", time.Now().String())
	h.Set("electric-up-to-date", "")
	fmt.Fprintf(w, "[%s]", strings.Join(messages, ","))
}

func change(operation string, id, n, lsn, position int, more string) string {
	return fmt.Sprintf(`{"key":"%d","value":{"id":"%[1]d","n":"%d"}%s,"headers":{"operation":%q,"lsn":"%d","op_position":%d}}`,
		id, n, more, operation, lsn, position)
}

// TestJudge gives the client logs with one thing wrong, and expects to be told.
func TestJudge(t *testing.T) {
	n := startNode(t)
	was := func(v int) string { return fmt.Sprintf(`,"old_value":{"n":"%d"}`, v) }
	row := func(id, n int) string { return fmt.Sprintf(`{"id":"%d","n":"%d"}`, id, n) }
	good := []string{
		change("insert", 1, 10, 5, 0, ""), change("insert", 2, 20, 5, 2, ""), change("update", 1, 11, 6, 0, was(10)),
		change("delete", 2, 20, 7, 0, ""), change("insert", 2, 22, 7, 2, ""),
	}
	states := []string{"", row(1, 10) + "\n" + row(2, 20), row(1, 11) + "\n" + row(2, 20), row(1, 11) + "\n" + row(2, 22)}
	for _, c := range []struct {
		name  string
		line  int // of good, that is replaced
		with  string
		wrong string
	}{
		{name: "nothing"},
		{"a message twice", 2, good[2] + "," + good[2], "after one at 6/0"},
		{"an older message", 4, change("insert", 2, 22, 6, 1, ""), "after one at 7/0"},
		{"an insert of what is there", 2, change("insert", 1, 11, 6, 0, ""), "which was there"},
		{"an update of what is not there", 2, change("update", 3, 11, 6, 0, was(10)), "which was not there"},
		{"a delete of what is not there", 3, change("delete", 3, 20, 7, 0, ""), "which was not there"},
		{"another old value", 2, change("update", 1, 11, 6, 0, was(9)), "the old value of n is 9"},
		{"no old value", 2, change("update", 1, 11, 6, 0, ""), "old_value is map[]"},
		{"another deleted row", 3, change("delete", 2, 21, 7, 0, ""), "it was map"},
		{"half a transaction", 0, good[0] + `,{"headers":{"control":"up-to-date"}}`, "is none that the database had"},
		{"a state that never was", 2, change("update", 1, 12, 6, 0, was(10)), "is none that the database had"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &script{lines: append([]string{}, good...), more: make(chan struct{})}
			if c.with != "" {
				s.lines[c.line] = c.with
			}
			server := httptest.NewServer(s)
			defer server.Close()
			silent := &recorder{TB: t}
			f := n.follow(silent, server.URL, &view{states: states}, following{params: map[string]any{"table": "t", "replica": "full"}})
			defer f.close()
			for _, shown := range []int{0, 2, 3, 5} {
				before := func() int { f.mu.Lock(); defer f.mu.Unlock(); return f.upToDate }()
				s.show(shown)
				f.until("a response", func() bool { return f.upToDate > before || shown == 0 && f.upToDate > 0 })
			}
			f.judge()
			if told := strings.Join(silent.told, "\n"); c.wrong == "" && told != "" || !strings.Contains(told, c.wrong) {
				t.Errorf("it says %q, want %q", told, c.wrong)
			}
		})
	}
	if w := n.warnings(); len(w) > 0 {
		t.Errorf("the client warns: %s", w)
	}
}

// recorder is a test whose errors are expected.
type recorder struct {
	testing.TB
	told []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

// TestStates says in which order states may be seen.
func TestStates(t *testing.T) {
	v := &view{states: []string{"a", "b", "a", "c"}}
	for _, c := range []struct {
		states string
		want   int
	}{{"a b a c", -1}, {"a c", -1}, {"b a c", -1}, {"b c", -1}, {"b b", -1}, {"c b", 1}, {"a x", 1}, {"b a b", 2}, {"c a", 1}} {
		if got := v.follows(strings.Fields(c.states)); got != c.want {
			t.Errorf("%s: %d, want %d", c.states, got, c.want)
		}
	}
	if got := stateOf(func(yield func(map[string]any) bool) {
		_ = yield(map[string]any{"b": "x", "a": nil}) && yield(map[string]any{"a": "1"})
	}); got != "{\"a\":\"1\"}\n{\"a\":null,\"b\":\"x\"}" {
		t.Errorf("a state is %s", got)
	}
	var m message
	if err := json.Unmarshal([]byte(change("insert", 1, 2, 7, 0, "")), &m); err != nil {
		t.Fatal(err)
	}
	if lsn, position, ok := m.place(); lsn != 7 || position != 0 || !ok {
		t.Errorf("the place is %d/%d, %v", lsn, position, ok)
	}
}
