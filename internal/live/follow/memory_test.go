package follow

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// TestMemory measures what a followed answer takes beside its rows, which the
// answer store holds, too.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it follows thousands of answers; run without -short to see what one takes in memory")
	}
	const answers = 2000
	h := newHost(t)
	key := func(n int) string { return fmt.Sprintf("/v1/users/%d/orders", n) }
	for n := range answers {
		h.set(key(n), []item{{n, "a", "x"}, {n + 1, "b", "y"}})
	}
	hub := newHub(t, h, nil)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	clients := make([]*client, answers)
	offsets := make([]live.Offset, answers)
	wait := make([]*live.News, answers)
	empty := heap()
	for n := range answers {
		c := newClient(h, key(n), nil)
		c.catchUp(t, hub)
		offsets[n] = c.offset
	}
	h.pass()
	hub.sweep(time.Now().Add(2 * viewed)) // nobody comes for a while
	for n := range answers {
		wait[n] = shapeOf(hub, key(n)).Changed(offsets[n])
	}
	each := (heap() - empty) / answers
	t.Logf("%d bytes for each followed answer with one who waits", each)
	if each > 3000 {
		t.Errorf("each followed answer takes %d bytes", each)
	}
	runtime.KeepAlive(clients)
	runtime.KeepAlive(wait)
	if hub.Stats().Answers != answers || h.watched() != answers {
		t.Errorf("%+v, %d watched", hub.Stats(), h.watched())
	}
}

// FuzzFile reads damaged files: whatever one says, it can be continued or not.
func FuzzFile(f *testing.F) {
	h := newHost(f)
	h.set("/x", []item{{1, "a", "x"}})
	hub := newHub(f, h, nil)
	c := newClient(h, "/x", nil)
	for n := range 4 {
		c.catchUp(f, hub)
		h.set("/x", []item{{1, "a", "y"}, {n, "b", "z"}})
	}
	c.catchUp(f, hub)
	b, err := os.ReadFile(filepath.Join(hub.opts.Dir, idOf("/x")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	d := definition(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		// Sums are made right, or nothing behind them would be read.
		fixed := append([]byte(nil), b...)
		for at := 0; at < len(fixed); {
			if len(fixed)-at < frameSize {
				break
			}
			n := int(fixed[at]) | int(fixed[at+1])<<8
			if n == 0 || n > len(fixed)-at-frameSize {
				break
			}
			endRecord(fixed[:at+frameSize+n], at)
			at += frameSize + n
		}
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, fixed, 0o600); err != nil {
			t.Fatal(err)
		}
		file := file{path: path}
		l, err := file.load("/x", d)
		if err != nil {
			return
		}
		again, err := file.load("/x", d)
		if err != nil || again.size != l.size || again.last != l.last || len(d.difference(l.rows, again.rows)) > 0 {
			t.Fatalf("read again, it is different: %v", err)
		}
		if err := file.differences(l.snapshots, func(r *differenceRecord, _ []byte) error {
			_, _ = d.entryOf(r)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range l.snapshots {
			for _, topic := range []string{"", topicOf("a")} {
				v, err := l.snapshots[i].view(d, &file, topic, 1)
				if err != nil {
					continue
				}
				for n := range v.chunks {
					_, _ = v.batch(&l.snapshots[i], d, &file, topic, n)
				}
			}
		}
	})
}
