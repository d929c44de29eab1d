package table

import (
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Sweep sweeps as if so much time had passed, twice.
func (h *Hub) Sweep(later time.Duration, mark revision.LSN) {
	h.sweep(time.Now().Add(later), mark)
}

// Clean cleans the disk as if so much time had passed.
func (h *Hub) Clean(later time.Duration) { h.clean(time.Now().Add(later)) }

// Visible returns the position that is visible.
func (h *Hub) Visible() revision.LSN { return h.visible.Load().Load() }

// Settle moves the settled position on, and returns it.
func (h *Hub) Settle() (revision.LSN, error) {
	err := h.settle(h.ctx)
	return revision.LSN(h.settled.Load()), err
}

// SetScan sets how many transactions one shape reads alone. It comes first.
func (h *Hub) SetScan(n int) { h.scan = n }
