package oracle

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
)

// loadSpoilers do to subsets what a server may do that is wrong.
var loadSpoilers = []spoiler{
	{"a row of a subset is dropped", true, onRow(func(s *subset, k int) bool {
		s.Data = slices.Delete(s.Data, k, k+1)
		return true
	})},
	{"a row of a subset comes twice", true, onRow(func(s *subset, k int) bool {
		s.Data = slices.Insert(s.Data, k, s.Data[k])
		return true
	})},
	{"two rows of a page are swapped", true, onRow(func(s *subset, k int) bool {
		if s.orderBy == "" || k == 0 {
			return false
		}
		s.Data[k-1], s.Data[k] = s.Data[k], s.Data[k-1]
		return true
	})},
	{"a value of a subset is another", true, onRow(func(s *subset, k int) bool {
		values := maps.Clone(s.Data[k].Value)
		name := slices.Min(slices.Collect(maps.Keys(values)))
		other := "0"
		if v := values[name]; v != nil {
			other = *v + "0"
		}
		values[name] = &other
		s.Data[k].Value = values
		return true
	})},
	{"a transaction is said not to be in the snapshot", true, onMetadata(func(s *subset, m *liveMessage, seen bool) bool {
		// What is received again without being new does no harm, but for an insert.
		if !seen || m.Headers.Operation != "insert" {
			return false
		}
		s.Metadata.Xip = append(slices.Clone(s.Metadata.Xip), number(m.Headers.TxIDs[0]))
		s.Metadata.Xmin = number(min(m.Headers.TxIDs[0], uint32(subsetSnapshot(s).Xmin)))
		return true
	})},
	{"a subset is said to be from before the stream", true, onMetadata(func(s *subset, m *liveMessage, seen bool) bool {
		if !seen || m.Headers.Operation != "insert" {
			return false
		}
		s.Metadata.LSN = "1"
		return true
	})},
	{"a transaction is said to be in the snapshot", true, onMetadata(func(s *subset, m *liveMessage, seen bool) bool {
		if seen || m.Headers.Operation != "delete" {
			return false
		}
		s.Metadata.Xmin, s.Metadata.Xmax, s.Metadata.Xip = "4000000000", "4000000000", nil
		at, err := strconv.ParseUint(m.Headers.LSN, 10, 64)
		s.Metadata.LSN = strconv.FormatUint(at+1, 10)
		return err == nil
	})},
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// onRow spoils a row of a subset.
func onRow(f func(s *subset, k int) bool) func(*rand.Rand, []*exchange, int) ([]*exchange, bool) {
	return func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		x, s := *got[i], *got[i].subset
		x.subset = &s
		if s.Data = slices.Clone(s.Data); len(s.Data) == 0 || !f(&s, r.IntN(len(s.Data))) {
			return nil, false
		}
		return replaced(got, i, &x), true
	}
}

// onMetadata spoils what a subset says of its snapshot, if of some row of it there
// is one message before its follower is up to date again, which no other subset has
// to do with. f is told of it, and whether the snapshot saw it.
func onMetadata(f func(s *subset, m *liveMessage, seen bool) bool) func(*rand.Rand, []*exchange, int) ([]*exchange, bool) {
	return func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		x, s := *got[i], *got[i].subset
		x.subset = &s
		var later []*liveMessage
		for _, next := range got[i+1:] {
			if next.subset != nil || next.status != http.StatusOK || next.offset == "-1" || next.offset == "now" {
				return nil, false
			}
			for k := range next.messages {
				if m := &next.messages[k]; m.Key != nil && len(m.Headers.TxIDs) == 1 {
					later = append(later, m)
				}
			}
			if next.saysUpToDate() {
				break
			}
		}
		snap := subsetSnapshot(&s)
		for k, m := range later {
			again := func(o *liveMessage) bool { return *o.Key == *m.Key }
			other := func(x *exchange) bool { return x.subset != nil && x.subset.has(*m.Key) }
			if s.has(*m.Key) && !slices.ContainsFunc(later[k+1:], again) && !slices.ContainsFunc(later[:k], again) && !slices.ContainsFunc(got[:i], other) && f(&s, m, inside(snap, m.Headers.TxIDs[0])) {
				return replaced(got, i, &x), true
			}
		}
		return nil, false
	}
}

func (s *subset) has(key string) bool {
	for _, m := range s.Data {
		if *m.Key == key {
			return true
		}
	}
	return false
}
