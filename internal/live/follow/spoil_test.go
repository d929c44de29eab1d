package follow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
)

// streamed is one answer with a follower by an event stream, who knows a position
// alone when it comes back.
type streamed struct {
	*client
	host *host
	hub  *Hub
	dir  string
}

func newStreamed(t *testing.T) *streamed {
	h, dir := newHost(t), t.TempDir()
	return &streamed{newClient(h, "/x", nil), h, newHub(t, h, func(o *Options) { o.Dir = dir }), dir}
}

// set has the answer be other rows, which the follower gets.
func (s *streamed) set(t *testing.T, items ...item) {
	t.Helper()
	s.host.set("/x", items)
	s.catchUp(t, s.hub)
	s.offset = live.Offset{LSN: s.at, Index: live.Whole}
}

// again has another process go on, if the one before has ended or not.
func (s *streamed) again(t *testing.T) {
	s.hub.Close()
	s.hub = newHub(t, s.host, func(o *Options) { o.Dir = s.dir })
}

func (s *streamed) path() string { return filepath.Join(s.dir, idOf("/x")) }

// TestStreamAfterAFullDisk has a difference told that could not be written. Who
// follows by an event stream comes back with a position alone, and to another
// process, which must not go on from before that difference.
func TestStreamAfterAFullDisk(t *testing.T) {
	s := newStreamed(t)
	s.set(t, item{1, "a", "one"})
	s.set(t, item{1, "a", "two"})
	path := s.path()
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path+".new", "in the way"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{0}); err != nil { // as of a write that did not get to its end
		t.Fatal(err)
	}
	f.Close()
	s.set(t, item{1, "a", "two"}, item{2, "b", "three"})
	s.set(t, item{1, "a", "four"}, item{2, "b", "three"})
	if len(s.gone) > 0 {
		t.Error(s.gone)
	}
	s.hub.Close()
	if err := os.RemoveAll(path + ".new"); err != nil {
		t.Fatal(err)
	}
	s.again(t)
	s.set(t, item{1, "a", "two"}, item{2, "b", "three"})
	s.set(t, item{2, "b", "five"})
	if len(s.gone) != 1 {
		t.Errorf("it began again %d times: %v", len(s.gone), s.gone)
	}
}

// TestStreamAfterACrashOfTheMachine takes back what was written last, as a machine
// does that loses its power. Who follows by an event stream knows of it.
func TestStreamAfterACrashOfTheMachine(t *testing.T) {
	s := newStreamed(t)
	s.set(t, item{1, "a", "one"})
	s.set(t, item{1, "a", "two"})
	s.again(t)
	s.set(t, item{1, "a", "three"}) // another process goes on from the file
	if len(s.gone) > 0 {
		t.Fatal(s.gone)
	}
	path := s.path()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.set(t, item{1, "a", "three"}, item{2, "b", "four"})
	s.hub.Close()
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, disk.LockName), []byte("another start"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.again(t)
	s.set(t, item{1, "a", "three"})
	s.set(t, item{1, "a", "five"})
	if len(s.gone) != 1 {
		t.Errorf("it began again %d times: %v", len(s.gone), s.gone)
	}
}
