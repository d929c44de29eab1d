package answer

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/internal/change"
)

// Counters count what happened to the answers of a group and its predecessors.
type Counters struct {
	Hits, Misses, Stale atomic.Int64
	// Fills are the calls of Source.Fill and FillAt, Filled the answers that they
	// computed, of which Refills were begun before somebody asked.
	Fills, Filled, Refills atomic.Int64
	// Errors are fills that failed for those who waited, RefillErrors those that
	// nobody waited for. Shed are requests refused because too many fills waited,
	// RefillsShed answers left to their next reader for the same reason.
	Errors, RefillErrors, Shed, RefillsShed atomic.Int64
	// Ended are versions that a transaction ended. Patched followed one into a
	// new version without a query, Passed followed one and stayed as they were.
	Ended, Patched, Passed atomic.Int64
	// Compared are versions that a change ended and that were computed again
	// while the old one was known; Vain are those of them that came out the same.
	Compared, Vain atomic.Int64
	Answers        atomic.Int64

	mu     sync.Mutex
	causes map[cause]*CauseCount
}

// CauseCount says how often changes of one kind ended versions, and how often to
// no purpose.
type CauseCount struct {
	Table string // as in match.Reads.Name; "" where it is not known
	Op    change.Op
	// Ended are the versions that such a change ended; Compared and Vain as in
	// Counters.
	Ended, Compared, Vain int64
}

type cause struct {
	table string
	op    change.Op
}

// maxCauses bounds the kinds that one group tells apart; the tables of one
// endpoint are few.
const maxCauses = 64

// Causes returns the counts by kind of change, the most frequent first.
func (c *Counters) Causes() []CauseCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]CauseCount, 0, len(c.causes))
	for _, n := range c.causes {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b CauseCount) int {
		return cmp.Or(cmp.Compare(b.Ended, a.Ended), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Op, b.Op))
	})
	return out
}

// ended counts a version that a transaction ended.
func (c *Counters) ended(r *Reason) {
	c.Ended.Add(1)
	if r.Cause == ByChange {
		c.count(r, func(n *CauseCount) { n.Ended++ })
	}
}

// compared counts a version that was computed again after a change ended it.
func (c *Counters) compared(r *Reason, same bool) {
	c.Compared.Add(1)
	if same {
		c.Vain.Add(1)
	}
	c.count(r, func(n *CauseCount) {
		n.Compared++
		if same {
			n.Vain++
		}
	})
}

func (c *Counters) count(r *Reason, add func(*CauseCount)) {
	key := cause{r.Table, r.Op}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.causes[key]
	if n == nil {
		if len(c.causes) >= maxCauses {
			return
		}
		if c.causes == nil {
			c.causes = map[cause]*CauseCount{}
		}
		n = &CauseCount{Table: key.table, Op: key.op}
		c.causes[key] = n
	}
	add(n)
}
