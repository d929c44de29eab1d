package follow

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
)

// TestRestart goes on in another hub, from the files as they are.
func TestRestart(t *testing.T) {
	r := seeded(t)
	h := newHost(t)
	h.set("/x", nil)
	dir := t.TempDir()
	change := func(o *Options) { o.Dir, o.LogBytes, o.MemoryBytes = dir, 6000, 500 }
	hub := newHub(t, h, change)
	a := "a"
	clients := []*client{newClient(h, "/x", nil), newClient(h, "/x", &a), newClient(h, "/x", nil)}
	var items []item
	for n := range 300 {
		items = randomItems(r, items)
		h.set("/x", items)
		for i, c := range clients {
			if i < 2 || n%8 == 0 {
				c.catchUp(t, hub)
			}
		}
		if n%11 == 0 {
			if n%2 == 0 {
				hub.Close()
			} else { // it does nothing any more, as if it had been killed
				hub.work.close()
				hub.lock.Close()
			}
			hub = newHub(t, h, change)
		}
	}
	for _, c := range clients {
		if len(c.gone) > 0 {
			t.Error(c.gone)
		}
	}
}

// TestDamage lets a file be cut, changed, or exchanged. Whoever comes back goes on
// exactly, or begins again.
func TestDamage(t *testing.T) {
	r := seeded(t)
	outcomes := map[bool]int{}
	for n := range 60 {
		h := newHost(t)
		h.set("/x", nil)
		dir := t.TempDir()
		change := func(o *Options) { o.Dir, o.LogBytes = dir, 3000 }
		hub := newHub(t, h, change)
		c := newClient(h, "/x", nil)
		var items []item
		var past []*client
		var cut []byte
		path := filepath.Join(dir, idOf("/x"))
		rounds := 5 + r.IntN(40)
		for i := range rounds {
			items = randomItems(r, items)
			h.set("/x", items)
			c.catchUp(t, hub)
			if r.IntN(4) == 0 || i == rounds-1 {
				past = append(past, c.clone())
			}
			if r.IntN(rounds) == 0 {
				cut, _ = os.ReadFile(path)
			}
		}
		hub.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch n % 6 {
		case 0:
			b = b[:r.IntN(len(b)+1)]
		case 1:
			b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
		case 2:
			at := r.IntN(len(b))
			clear(b[at:])
		case 3:
			b = append(b, make([]byte, r.IntN(50))...)
		case 4:
			if cut != nil {
				b = cut // an older one
			}
		case 5: // one record is not there
			at := 0
			for range r.IntN(5) {
				if _, size, err := nextRecord(b[at:]); err == nil {
					at += size
				}
			}
			if _, size, err := nextRecord(b[at:]); err == nil {
				b = append(b[:at:at], b[at+size:]...)
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if r.IntN(2) == 0 {
			items = randomItems(r, items)
			h.set("/x", items)
		} else {
			h.pass()
		}
		hub = newHub(t, h, change)
		r.Shuffle(len(past), func(i, j int) { past[i], past[j] = past[j], past[i] })
		for _, p := range past {
			p.catchUp(t, hub)
			outcomes[len(p.gone) > 0]++
		}
		for range 3 {
			items = randomItems(r, items)
			h.set("/x", items)
			for _, p := range past {
				p.catchUp(t, hub)
			}
		}
		hub.Close()
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("outcomes %v", outcomes)
	}
}

// TestDiskFails takes the folder away: who follows goes on, who comes is told.
func TestDiskFails(t *testing.T) {
	h := newHost(t)
	h.set("/x", []item{{1, "a", "x"}})
	dir := filepath.Join(t.TempDir(), "answers")
	hub := newHub(t, h, func(o *Options) { o.Dir = dir })
	c := newClient(h, "/x", nil)
	c.catchUp(t, hub)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		h.set("/x", []item{{i, "a", "y"}})
		c.catchUp(t, hub)
	}
	if len(c.gone) > 0 {
		t.Error(c.gone)
	}
	if _, err := newClient(h, "/x", nil).poll(hub); !errors.Is(err, live.ErrUnavailable) {
		t.Errorf("a newcomer is told %v", err)
	}
	h.set("/y", nil)
	if _, err := newClient(h, "/y", nil).poll(hub); !errors.Is(err, live.ErrUnavailable) {
		t.Errorf("of another answer he is told %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	newClient(h, "/x", nil).catchUp(t, hub)
	newClient(h, "/y", nil).catchUp(t, hub)
	h.set("/x", nil)
	c.catchUp(t, hub)
	if len(c.gone) > 0 {
		t.Error(c.gone)
	}
	hub.Close()
	hub = newHub(t, h, func(o *Options) { o.Dir = dir })
	c.catchUp(t, hub)
	// With the folder went what says since when its files are.
	if len(c.gone) != 1 {
		t.Error(c.gone)
	}
}

// TestNewcomersBeginLate has the log grow: those who come get newer rows, those
// who follow go on.
func TestNewcomersBeginLate(t *testing.T) {
	r := seeded(t)
	h := newHost(t)
	h.set("/x", nil)
	hub := newHub(t, h, func(o *Options) { o.LogBytes, o.MemoryBytes = 4000, 300 })
	first := newClient(h, "/x", nil)
	first.catchUp(t, hub)
	var items []item
	handles := map[string]bool{first.handle: true}
	late := map[*client]int{}
	for n := range 600 {
		items = randomItems(r, items)
		h.set("/x", items)
		first.catchUp(t, hub)
		if n%10 == 0 {
			c := newClient(h, "/x", nil)
			c.catchUp(t, hub)
			handles[c.handle] = true
			late[c] = n
		}
		for c, since := range late {
			// It may be in the past as far as the log is kept, and no further.
			if r.IntN(60) > 0 {
				continue
			}
			before := len(c.gone)
			c.catchUp(t, hub)
			if gone := len(c.gone) > before; gone && n-since < 10 {
				t.Errorf("after %d changes: %v", n-since, c.gone)
			}
			delete(late, c)
		}
	}
	if len(first.gone) > 0 || len(handles) < 5 {
		t.Errorf("%v, %d handles", first.gone, len(handles))
	}
	f := hub.byKey["/x"]
	info, err := os.Stat(f.file.path)
	if err != nil || info.Size() != f.file.size || info.Size() > 60_000 {
		t.Errorf("the file has %d bytes, and %d are known: %v", info.Size(), f.file.size, err)
	}
}

// TestDirectoryOfAnother has two hubs in one directory: the second touches nothing
// there until the first has closed.
func TestDirectoryOfAnother(t *testing.T) {
	h := newHost(t)
	h.set("/x", []item{{1, "a", "one"}})
	dir := filepath.Join(t.TempDir(), "answers")
	change := func(o *Options) { o.Dir, o.KeepFile = dir, time.Hour }
	first := newHub(t, h, change)
	second := newHub(t, h, change)
	second.sweepFiles()
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made before anybody needed it")
	}
	c := newClient(h, "/x", nil)
	c.catchUp(t, first)
	old := time.Now().Add(-2 * time.Hour)
	path := filepath.Join(dir, idOf("/x"))
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	second.sweepFiles() // which would drop it
	_, err := second.Open(t.Context(), "/x", "", c.handle, nil)
	for what, err := range map[string]error{"open": err, "delete": second.Delete(t.Context(), c.handle)} {
		if !errors.Is(err, live.ErrUnavailable) || !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "live.dir") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if why := second.Stats().Why; !strings.Contains(why, dir) || first.Stats().Why != "" {
		t.Errorf("the second says %q, the first %q", why, first.Stats().Why)
	}
	h.set("/x", []item{{1, "a", "two"}})
	c.catchUp(t, first)
	first.Close()
	h.set("/x", []item{{1, "a", "three"}, {2, "b", "four"}})
	c.catchUp(t, second)
	if len(c.gone) > 0 || second.Stats().Why != "" {
		t.Error(c.gone, second.Stats().Why)
	}
	if _, err := first.Open(t.Context(), "/x", "", c.handle, nil); !errors.Is(err, answer.ErrClosing) {
		t.Errorf("one that has closed: %v", err)
	}
	// What the directory is taken by is no file of an answer.
	if err := os.Chtimes(filepath.Join(dir, disk.LockName), old, old); err != nil {
		t.Fatal(err)
	}
	second.sweepFiles()
	third := newHub(t, h, change)
	if _, err := third.Open(t.Context(), "/x", "", "", nil); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("the second let go of it: %v", err)
	}
}
