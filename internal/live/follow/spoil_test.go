package follow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
)

// TestStreamAfterAFullDisk has a difference told that could not be written. Who
// follows by an event stream comes back with a position alone, and to another
// process, which must not go on from before that difference.
func TestStreamAfterAFullDisk(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	change := func(o *Options) { o.Dir = dir }
	hub := newHub(t, h, change)
	c := newClient(h, "/x", nil)
	set := func(items ...item) {
		t.Helper()
		h.set("/x", items)
		c.catchUp(t, hub)
		c.offset = live.Offset{LSN: c.at, Index: live.Whole}
	}
	set(item{1, "a", "one"})
	set(item{1, "a", "two"})
	path := filepath.Join(dir, idOf("/x"))
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
	set(item{1, "a", "two"}, item{2, "b", "three"})
	set(item{1, "a", "four"}, item{2, "b", "three"})
	if len(c.gone) > 0 {
		t.Error(c.gone)
	}
	hub.Close()
	if err := os.RemoveAll(path + ".new"); err != nil {
		t.Fatal(err)
	}
	hub = newHub(t, h, change)
	set(item{1, "a", "two"}, item{2, "b", "three"})
	set(item{2, "b", "five"})
	if len(c.gone) != 1 {
		t.Errorf("it began again %d times: %v", len(c.gone), c.gone)
	}
}

// TestStreamAfterACrashOfTheMachine takes back what was written last, as a machine
// does that loses its power. Who follows by an event stream knows of it.
func TestStreamAfterACrashOfTheMachine(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	change := func(o *Options) { o.Dir = dir }
	hub := newHub(t, h, change)
	c := newClient(h, "/x", nil)
	set := func(items ...item) {
		t.Helper()
		h.set("/x", items)
		c.catchUp(t, hub)
		c.offset = live.Offset{LSN: c.at, Index: live.Whole}
	}
	again := func() {
		t.Helper()
		hub.Close()
		hub = newHub(t, h, change)
	}
	set(item{1, "a", "one"})
	set(item{1, "a", "two"})
	again()
	set(item{1, "a", "three"}) // another process goes on from the file
	if len(c.gone) > 0 {
		t.Fatal(c.gone)
	}
	path := filepath.Join(dir, idOf("/x"))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set(item{1, "a", "three"}, item{2, "b", "four"})
	hub.Close()
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, disk.LockName), []byte("another start"), 0o600); err != nil {
		t.Fatal(err)
	}
	again()
	set(item{1, "a", "three"})
	set(item{1, "a", "five"})
	if len(c.gone) != 1 {
		t.Errorf("it began again %d times: %v", len(c.gone), c.gone)
	}
}
