package answer

import (
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Lacks reports whether a snapshot lacks a transaction on some of the tables that
// the log may have delivered before this process began to read it.
func (s *Store) Lacks(snap *revision.Snapshot, tables map[catalog.OID]bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x, wrote := range s.unknown {
		if snap.Contains(x) {
			continue
		}
		for _, t := range wrote {
			if tables[t] {
				return true
			}
		}
	}
	return false
}
