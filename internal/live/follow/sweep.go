package follow

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
)

func keyPath(key string) string {
	path, _, _ := strings.Cut(key, "?")
	return path
}

func keyQuery(key string) string {
	_, query, _ := strings.Cut(key, "?")
	return query
}

// viewed is how long what was made for one newcomer is held for others.
const viewed = 10 * time.Second

// sweep lets go of answers that nobody has asked for, and of what was held for
// newcomers of the others.
func (h *Hub) sweep(now time.Time) {
	h.mu.Lock()
	all := make([]*followed, 0, len(h.byKey))
	for _, f := range h.byKey {
		if f.isReady() {
			all = append(all, f)
		}
	}
	h.mu.Unlock()
	for _, f := range all {
		if f.used.Load() < now.Add(-h.opts.Keep).UnixNano() {
			h.rest(f, now)
			continue
		}
		f.sweep(now)
	}
}

// rest lets go of an answer; what its followers have stays in its file.
func (h *Hub) rest(f *followed, now time.Time) {
	h.mu.Lock()
	f.mu.Lock()
	unused := f.used.Load() < now.Add(-h.opts.Keep).UnixNano()
	if unused {
		f.resting = true
		f.wake()
		if h.byKey[f.key] == f {
			delete(h.byKey, f.key)
			delete(h.byID, f.id)
		}
		f.file.touch(now)
	}
	f.mu.Unlock()
	h.mu.Unlock()
	if unused {
		h.opts.Host.Unwatch(f.key, f)
	}
}

func (f *followed) sweep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := now.Add(-viewed).UnixNano()
	for i := range f.snapshots {
		f.snapshots[i].rest(since)
	}
	for name, t := range f.topics {
		if t.used >= now.Add(-f.hub.opts.Keep).UnixNano() {
			continue
		}
		t.changed.Tell() // nobody waits, or looks again
		delete(f.topics, name)
	}
	if f.appended < since {
		f.tip = tip{}
		f.trim(f.hub.opts.MemoryBytes)
	}
	if v := f.version; v != nil && !now.Before(v.Expires()) && f.state.Load() == stateCurrent {
		// Its time to live is over: it is computed anew, although nothing is known
		// to have changed it.
		f.state.Store(stateEnded)
		f.hub.work.push(f, false)
	}
}

// touch notes that a file was in use.
func (f *file) touch(now time.Time) {
	if !f.broken {
		_ = os.Chtimes(f.path, now, now) // it only goes earlier without
	}
}

// remove drops a file; its owner begins another one, or none.
func (f *file) remove() {
	if f.size > 0 {
		_ = os.Remove(f.path) // nobody goes on from it: its incarnation is over
	}
	f.size, f.logged, f.broken = 0, 0, true
}

// deleteFile drops the file of an answer that is not in memory. h.mu is held.
func (h *Hub) deleteFile(id, incarnation string) error {
	path := filepath.Join(h.opts.Dir, id)
	b, err := os.ReadFile(path)
	if err != nil {
		return live.ErrNoShape
	}
	payload, _, err := nextRecord(b)
	if err != nil {
		return live.ErrNoShape
	}
	if head, err := readHeader(payload); err != nil || head.incarnation != incarnation {
		return live.ErrNoShape
	}
	if err := h.take(); err != nil {
		return err
	}
	return os.Remove(path)
}

// sweepFiles drops files that were not used for long, and the oldest of those
// that are too many.
func (h *Hub) sweepFiles() {
	entries, err := os.ReadDir(h.opts.Dir)
	if err != nil {
		return // there is none yet
	}
	h.mu.Lock()
	err = h.take()
	h.mu.Unlock()
	if err != nil {
		return
	}
	type found struct {
		id   string
		size int64
		used time.Time
	}
	var files []found
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.Type().IsRegular() || e.Name() == disk.LockName {
			continue
		}
		files = append(files, found{e.Name(), info.Size(), info.ModTime()})
		total += info.Size()
	}
	slices.SortFunc(files, func(a, b found) int { return a.used.Compare(b.used) })
	cutoff := time.Now().Add(-h.opts.KeepFile)
	for _, f := range files {
		if total <= h.opts.MaxFiles && f.used.After(cutoff) {
			return
		}
		h.mu.Lock()
		if h.byID[f.id] == nil && os.Remove(filepath.Join(h.opts.Dir, f.id)) == nil {
			total -= f.size
		}
		h.mu.Unlock()
	}
}
