package table

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

const (
	sweepInterval = 10 * time.Second // of memory
	cleanInterval = 5 * time.Minute  // of the disk
)

func (h *Hub) sweepLoop(ctx context.Context) {
	var mark revision.LSN
	cleaned := time.Now()
	for pause(ctx, sweepInterval) == nil {
		h.removeDoomed()
		mark = h.sweep(time.Now(), mark)
		if time.Since(cleaned) > cleanInterval {
			cleaned = time.Now()
			h.clean(cleaned)
		}
	}
}

// sweep lets shapes that are not used leave memory, and ends those whose table was
// truncated. Of the others it forgets the batches and what their tails hold up to
// mark; it returns the mark for the next time.
func (h *Hub) sweep(now time.Time, mark revision.LSN) revision.LSN {
	h.mu.Lock()
	var truncated []*Shape
	for _, s := range h.shapes {
		if time.Duration(now.Unix()-s.used.Load())*time.Second > h.opts.Idle {
			h.touchFile(s, now)
			h.retire(s)
			continue
		}
		s.mu.Lock()
		if s.gone() != nil {
			truncated = append(truncated, s)
		}
		s.forgetAll()
		s.trim(mark)
		s.mu.Unlock()
	}
	h.mu.Unlock()
	for _, s := range truncated {
		_ = h.end(s, errTruncated.Error())
	}
	return h.visible.Load().Load()
}

// touchFile notes on disk when a handle was used last.
func (h *Hub) touchFile(s *Shape, now time.Time) {
	_ = os.Chtimes(s.snapshot.path, time.Time{}, now) // else it ends earlier than it has to
}

// removeDoomed removes the files of handles of another log.
func (h *Hub) removeDoomed() {
	h.mu.Lock()
	doomed := h.doomed
	h.doomed = nil
	h.mu.Unlock()
	for _, handle := range doomed {
		h.remove(handle)
	}
}

// clean ends handles that nobody used for long, and the least recently used where
// there are too many bytes of them.
func (h *Hub) clean(now time.Time) {
	type file struct {
		handle string
		size   int64
		used   time.Time
	}
	h.mu.Lock()
	var files []file
	for _, list := range h.handles {
		for _, handle := range list {
			f := file{handle: handle}
			if s := h.shapes[handle]; s != nil {
				f.size, f.used = s.snapshot.inUse, time.Unix(s.used.Load(), 0)
			}
			files = append(files, f)
		}
	}
	h.mu.Unlock()
	var total int64
	for i := range files {
		f := &files[i]
		if f.used.IsZero() {
			st, err := os.Stat(h.path(f.handle))
			if err != nil {
				continue
			}
			f.size, f.used = st.Size(), st.ModTime()
		}
		total += f.size
	}
	slices.SortFunc(files, func(a, b file) int { return a.used.Compare(b.used) })
	for _, f := range files {
		if now.Sub(f.used) <= h.opts.Unused && total <= h.opts.MaxFiles {
			break
		}
		total -= f.size
		hash, _ := splitHandle(f.handle)
		h.mu.Lock()
		s := h.shapes[f.handle]
		h.mu.Unlock()
		if s == nil {
			s = &Shape{hub: h, handle: f.handle, def: &definition{hash: hash}}
		}
		_ = h.end(s, "nobody used it") // or others were used more recently
	}
}
