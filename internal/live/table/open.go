package table

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Open implements live.Tables.
func (h *Hub) Open(ctx context.Context, d live.Definition, handle string) (live.Shape, error) {
	s, err := h.open(ctx, &d, handle)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// tries bounds how often a request is resolved anew because definitions change.
const tries = 20

func (h *Hub) open(ctx context.Context, d *live.Definition, handle string) (s *Shape, err error) {
	if h.session.Load() == 0 {
		return nil, unavailable("the log is not being followed yet")
	}
	err = h.withDefinition(ctx, d, func(def *definition) error {
		s, err = h.shapeOf(ctx, def, handle)
		return err
	})
	return s, err
}

// withDefinition calls f with what a request means, and again if that changes meanwhile.
func (h *Hub) withDefinition(ctx context.Context, d *live.Definition, f func(*definition) error) error {
	for try := range tries {
		rules := h.rules.Load()
		def, err := h.resolve(ctx, d)
		if err == nil {
			err = f(def)
		}
		if err == nil && h.rules.Load() != rules {
			err = errOutdated
		}
		if !errors.Is(err, errOutdated) {
			return err
		}
		// The log may bring the change only in a moment.
		if err := pause(ctx, time.Duration(try)*10*time.Millisecond); err != nil {
			return err
		}
		if err := h.lookAgain(ctx); err != nil {
			return err
		}
	}
	return unavailable("the definition of %s keeps changing", d.Table)
}

// shapeOf returns the shape of a handle if it can be continued, else the newest
// that one can begin with, else a new one.
func (h *Hub) shapeOf(ctx context.Context, def *definition, handle string) (*Shape, error) {
	if hash, _ := splitHandle(handle); hash == def.hash {
		if s, err := h.find(handle, def); err != nil || s != nil && s.usable(false) {
			return s, err
		}
	}
	h.mu.Lock()
	newest := ""
	if list := h.handles[def.hash]; len(list) > 0 {
		newest = list[len(list)-1]
	}
	h.mu.Unlock()
	if newest != "" {
		if s, err := h.find(newest, def); err != nil || s != nil && s.usable(true) {
			return s, err
		}
	}
	return h.renew(ctx, def)
}

// usable reports whether a shape can be followed. To begin, it is of use while its
// snapshot is no more work than what came after, and well within what is kept.
func (s *Shape) usable(begin bool) bool {
	s.mu.Lock()
	gone := s.gone() != nil
	s.mu.Unlock()
	return !gone && (!begin || s.snapshot.First >= s.hub.log.Middle() && s.grown.Load() <= 4*s.snapshot.inUse+1<<20)
}

// find returns the shape of a handle of a definition, from disk if need be, or nil.
func (h *Hub) find(handle string, def *definition) (*Shape, error) {
	h.mu.Lock()
	s, listed := h.shapes[handle], slices.Contains(h.handles[def.hash], handle)
	source, session := h.source, h.session.Load()
	h.mu.Unlock()
	if s != nil {
		s.used.Store(time.Now().Unix())
		return s, nil
	}
	if !listed {
		return nil, nil
	}
	snap, err := readFile(h.path(handle))
	s = &Shape{hub: h, handle: handle, def: def, snapshot: snap}
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, errDamaged):
		_ = h.end(s, errDamaged.Error()) // nobody follows it
		return nil, nil
	case err != nil:
		return nil, diskError(err)
	case snap.Source != source || !snap.Mark.fits(def.mark):
		_ = h.end(s, errRedefined.Error())
		return nil, nil
	}
	if !h.register(s, session) {
		return nil, errOutdated // a new session, and perhaps another log
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shapes[handle], nil
}

// register enters a shape into the index, unless its handle has one there. It fails
// if the log was connected anew since session.
func (h *Hub) register(s *Shape, session uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session.Load() != session {
		return false
	}
	if !slices.Contains(h.handles[s.def.hash], s.handle) {
		h.handles[s.def.hash] = append(h.handles[s.def.hash], s.handle)
	}
	if h.shapes[s.handle] == nil {
		h.enroll(s)
	}
	return true
}

// enroll enters a shape into the index. Hub.mu is held.
func (h *Hub) enroll(s *Shape) {
	s.used.Store(time.Now().Unix())
	h.shapes[s.handle] = s
	h.index.Add(&s.node, s, s.def.deps)
	s.registered = h.applied
	s.mu.Lock()
	s.asleep = false
	s.from = live.Offset{LSN: h.applied, Index: live.Whole}
	s.quiet = quiet{}
	s.mu.Unlock()
	visible := h.visible.Load().Load()
	if h.applied > visible && !s.waking {
		// What is applied and not visible may touch it.
		s.waking = true
		h.wake = append(h.wake, s)
	}
	if s.snapshot.Upper > visible {
		h.late = append(h.late, s)
	}
}

// retire takes a shape out of memory. Hub.mu is held.
func (h *Hub) retire(s *Shape) {
	if h.shapes[s.handle] == s {
		delete(h.shapes, s.handle)
	}
	h.index.Remove(&s.node)
	s.mu.Lock()
	s.asleep = true
	s.drop(len(s.tail))
	s.from = live.Offset{LSN: ^revision.LSN(0), Index: live.Whole} // nothing is known, to those in the middle of Next
	s.quiet = quiet{}
	s.forgetAll()
	s.rouseLocked()
	s.mu.Unlock()
}

// adopt brings a shape that left memory back, or returns the one that has its
// handle now.
func (h *Hub) adopt(s *Shape) *Shape {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.shapes[s.handle]; now != nil {
		return now
	}
	if !slices.Contains(h.handles[s.def.hash], s.handle) || s.snapshot.Source != h.source {
		s.mu.Lock()
		s.over = &live.GoneError{Reason: errSession.Error()}
		s.mu.Unlock()
		return s
	}
	h.enroll(s)
	return s
}

// end ends a handle and returns what its followers are told.
func (h *Hub) end(s *Shape, reason string) error {
	h.mu.Lock()
	h.retire(s)
	list := slices.DeleteFunc(h.handles[s.def.hash], func(o string) bool { return o == s.handle })
	if len(list) == 0 {
		delete(h.handles, s.def.hash)
	} else {
		h.handles[s.def.hash] = list
	}
	newest := ""
	if len(list) > 0 && list[len(list)-1] > s.handle {
		newest = list[len(list)-1]
	}
	h.mu.Unlock()
	s.mu.Lock()
	first := s.over == nil
	if first {
		s.over = &live.GoneError{Handle: newest, Reason: reason}
	}
	over := s.over
	s.mu.Unlock()
	if first {
		h.remove(s.handle)
		h.note.Debug("a shape is over", "handle", s.handle, "reason", reason)
	}
	return over
}

// remove removes the file of a handle that nobody is given any more.
func (h *Hub) remove(handle string) {
	if err := os.Remove(h.path(handle)); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.note.Warn("the file of a shape cannot be removed", "handle", handle, "err", err)
	}
}

// forget ends every handle: what comes now is of another log. Hub.mu is held.
func (h *Hub) forget(reason string) {
	for _, s := range h.shapes {
		h.retire(s)
		s.mu.Lock()
		s.over = &live.GoneError{Reason: reason}
		s.mu.Unlock()
	}
	for _, list := range h.handles {
		h.doomed = append(h.doomed, list...)
	}
	h.handles = map[string][]string{}
	h.wake, h.late, h.unseen = nil, nil, nil
	h.names.reset()
	h.told.Lock()
	h.defines = nil
	h.told.Unlock()
}

// Delete implements live.Tables.
func (h *Hub) Delete(ctx context.Context, d *live.Definition, handle string) error {
	if !h.opts.AllowDelete {
		return live.ErrNoShape
	}
	hash, _ := splitHandle(handle)
	if d != nil {
		own := ""
		err := h.withDefinition(ctx, d, func(def *definition) error {
			own = def.hash
			return nil
		})
		if err != nil {
			return err
		}
		if hash != "" && hash != own {
			return live.ErrNoShape
		}
		hash = own
	}
	h.mu.Lock()
	var which []string
	for _, other := range h.handles[hash] {
		if handle == "" || other == handle {
			which = append(which, other)
		}
	}
	var shapes []*Shape
	for _, handle := range which {
		s := h.shapes[handle]
		if s == nil {
			s = &Shape{hub: h, handle: handle, def: &definition{hash: hash}}
		}
		shapes = append(shapes, s)
	}
	h.mu.Unlock()
	if len(shapes) == 0 {
		return live.ErrNoShape
	}
	for _, s := range shapes {
		_ = h.end(s, "it was deleted")
	}
	return nil
}
