package oracle

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// spoiler does to what a follower received what a server may do that is wrong. It
// reports whether there is anything of the sort to do to an exchange, before the
// last one that was up to date.
type spoiler struct {
	name string
	// tables says that it shows in shapes of tables only, whose every message is in
	// the log: differences of an answer may come and go between two that are true.
	tables bool
	spoil  func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool)
}

var spoilers = []spoiler{
	{"a message is dropped", true, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		return slices.Delete(ms, k, k+1), true
	})},
	{"the message of a row that lasts is dropped", false, onLasting(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		if ms[k].Headers.Operation == "update" && len(ms[k].Value) < 3 {
			return nil, false // the one before may have said the same
		}
		return slices.Delete(ms, k, k+1), true
	})},
	{"a message comes twice", false, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		return slices.Insert(ms, k, ms[k]), true
	})},
	{"two messages are swapped", true, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		// Rows of a snapshot have no order.
		if k+1 == len(ms) || ms[k].Headers.LSN == "" || ms[k+1].Headers.LSN == "" {
			return nil, false
		}
		ms[k], ms[k+1] = ms[k+1], ms[k]
		return ms, true
	})},
	{"two messages are swapped and numbered anew", true, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		if k+1 == len(ms) || ms[k].Headers.LSN == "" || ms[k+1].Headers.LSN == "" || ms[k+1].Headers.Operation == ms[k].Headers.Operation {
			return nil, false
		}
		ms[k], ms[k+1] = ms[k+1], ms[k]
		ms[k].Headers, ms[k+1].Headers = ms[k+1].Headers, ms[k].Headers
		ms[k].Headers.Operation, ms[k+1].Headers.Operation = ms[k+1].Headers.Operation, ms[k].Headers.Operation
		return ms, true
	})},
	{"a value is another", false, onLasting(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		m := &ms[k]
		// What an endpoint's deletes hold besides the key is for nobody.
		names := slices.Sorted(maps.Keys(m.Value))
		if len(names) == 0 {
			return nil, false
		}
		name := names[len(names)/2]
		other := "0"
		if v := m.Value[name]; v != nil {
			other = *v + "0"
		}
		m.Value = maps.Clone(m.Value)
		m.Value[name] = &other
		return ms, true
	})},
	{"a value is missing", false, onLasting(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		m := &ms[k]
		names := slices.Sorted(maps.Keys(m.Value))
		if len(names) == 0 || m.Headers.Operation != "insert" {
			return nil, false
		}
		m.Value = maps.Clone(m.Value)
		delete(m.Value, names[len(names)-1])
		return ms, true
	})},
	{"a key is another", false, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		if ms[k].Headers.Operation == "insert" {
			return nil, false // nothing may happen to it until the end
		}
		key := *ms[k].Key + "x"
		ms[k].Key = &key
		return ms, true
	})},
	{"an operation is another", false, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		ms[k].Headers.Operation = map[string]string{"insert": "update", "update": "insert", "delete": "insert"}[ms[k].Headers.Operation]
		return ms, true
	})},
	{"an old value is another", false, onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
		m := &ms[k]
		for name, v := range m.Old {
			other := "0"
			if v != nil {
				other = *v + "0"
			}
			m.Old = maps.Clone(m.Old)
			m.Old[name] = &other
			return ms, true
		}
		return nil, false
	})},
	{"half a transaction is called everything", true, halved},
	{"it is up to date at the next position but one", true, func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		// What comes between is said to have come.
		x := *got[i]
		if !x.saysUpToDate() {
			return nil, false
		}
		for _, later := range got[i+1:] {
			if later.offset == "-1" || later.offset == "now" || later.status != 200 {
				return nil, false
			}
			if k := slices.IndexFunc(later.messages, func(m liveMessage) bool { return m.Headers.LSN != "" }); k >= 0 {
				x.messages = slices.Clone(x.messages)
				x.messages[len(x.messages)-1].Headers.Seen = later.messages[k].Headers.LSN
				return replaced(got, i, &x), true
			}
		}
		return nil, false
	}},
	{"a batch is left out", true, func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		x := *got[i]
		if !hasChange(&x) {
			return nil, false
		}
		x.messages = slices.DeleteFunc(slices.Clone(x.messages), func(m liveMessage) bool { return m.Headers.LSN != "" })
		return replaced(got, i, &x), true
	}},
	{"a batch comes again", true, func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		if !hasChange(got[i]) || got[i].offset == "-1" {
			return nil, false
		}
		return slices.Insert(slices.Clone(got), i+1, got[i]), true
	}},
}

func hasChange(x *exchange) bool {
	return slices.ContainsFunc(x.messages, func(m liveMessage) bool { return m.Headers.LSN != "" })
}

func replaced(got []*exchange, i int, by ...*exchange) []*exchange {
	return slices.Replace(slices.Clone(got), i, i+1, by...)
}

// onMessage spoils one message of an exchange.
func onMessage(f func(ms []liveMessage, k int) ([]liveMessage, bool)) func(*rand.Rand, []*exchange, int) ([]*exchange, bool) {
	return func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		x := *got[i]
		n := len(x.messages)
		for range 5 {
			if n == 0 {
				break
			}
			k := r.IntN(n)
			if x.messages[k].Headers.Operation == "" {
				continue
			}
			if ms, ok := f(slices.Clone(x.messages), k); ok {
				x.messages = ms
				return replaced(got, i, &x), true
			}
		}
		return nil, false
	}
}

// onLasting spoils one message of a row that nothing happens to before the
// follower hears that it is up to date: else nobody could tell.
func onLasting(f func(ms []liveMessage, k int) ([]liveMessage, bool)) func(*rand.Rand, []*exchange, int) ([]*exchange, bool) {
	return func(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
		return onMessage(func(ms []liveMessage, k int) ([]liveMessage, bool) {
			again := func(m liveMessage) bool { return m.Key != nil && *m.Key == *ms[k].Key }
			if slices.ContainsFunc(ms[k+1:], again) {
				return nil, false
			}
			for n := i; n < len(got) && !got[n].saysUpToDate(); n++ {
				if n+1 < len(got) && slices.ContainsFunc(got[n+1].messages, again) {
					return nil, false
				}
			}
			return f(ms, k)
		})(r, got, i)
	}
}

// halved says up to date, truthfully numbered, in the middle of a transaction.
func halved(r *rand.Rand, got []*exchange, i int) ([]*exchange, bool) {
	x := got[i]
	if !x.saysUpToDate() {
		return nil, false
	}
	for k := 1; k < len(x.messages); k++ {
		lsn := x.messages[k].Headers.LSN
		if lsn == "" || x.messages[k-1].Headers.LSN != lsn {
			continue
		}
		first, rest := *x, *x
		end := x.messages[len(x.messages)-1]
		end.Headers.Seen = lsn
		first.messages = append(slices.Clone(x.messages[:k]), end)
		first.end = lsn + "_" + strconv.FormatUint(*x.messages[k-1].Headers.OpPosition, 10)
		rest.offset, rest.messages = first.end, x.messages[k:]
		rest.handle = first.newHandle
		return replaced(got, i, &first, &rest), true
	}
	return nil, false
}

// TestLiveNotices spoils what followers received, and expects the judge to notice
// every time: that is what its silence is worth.
func TestLiveNotices(t *testing.T) {
	t.Parallel()
	executeLive(t, laneOf("live plain"), seedOf(t), shortRun, func(lr *liveRun, j *liveJudge) {
		j.spoilt(spoilers, func(f *follower, i int) bool { return f.got[i].subset == nil })
	})
}

// TestLiveNoticesSubsets is the same for what followers loaded beside the stream.
func TestLiveNoticesSubsets(t *testing.T) {
	t.Parallel()
	executeLive(t, laneOf("live subsets"), seedOf(t), shortRun, func(lr *liveRun, j *liveJudge) {
		j.spoilt(loadSpoilers, func(f *follower, i int) bool { return f.got[i].subset != nil && f.got[i].status == 200 })
	})
}

func laneOf(name string) *liveLane {
	return liveLanes[slices.IndexFunc(liveLanes, func(l *liveLane) bool { return l.name == name })]
}

// spoilt has spoilers try what they can, on exchanges of a sort.
func (j *liveJudge) spoilt(by []spoiler, sort func(f *follower, i int) bool) {
	r := rand.New(rand.NewPCG(j.seed, 25))
	shown := 0
	for _, s := range by {
		tried := 0
		for range 4000 {
			if tried == 60 {
				break
			}
			f := pick(r, j.followers)
			last := len(f.got) - 1
			for last >= 0 && !f.got[last].saysUpToDate() {
				last--
			}
			if last < 0 || f.sh.refused() != "" || s.tables && f.sh.rel == nil {
				continue
			}
			i := r.IntN(last + 1)
			if !sort(f, i) {
				continue
			}
			got, ok := s.spoil(r, f.got, i)
			if !ok || !judged(f, i) {
				continue
			}
			tried++
			if !j.notices(f, got) {
				j.Errorf("%s, and nobody notices: in %s\n%s", s.name, f.got[i], f)
				break
			}
		}
		if tried > 3 {
			shown++
		}
		j.Logf("%s: noticed %d times", s.name, tried)
	}
	if shown < len(by)/2 {
		j.Errorf("only %d of %d spoilers had something to spoil, which shows nothing", shown, len(by))
	}
}

// judged reports whether a follower heard that it was up to date, after an
// exchange and before it began anew. What an answer was that is followed from now
// on nobody said, and of changes alone not where they begin, until then.
func judged(f *follower, i int) bool {
	got := f.got
	k := i
	heard := false
	for ; got[k].offset != "-1" && got[k].offset != "now"; k-- {
		heard = heard || k < i && got[k].saysUpToDate()
	}
	heard = heard || k < i && got[k].saysUpToDate()
	if f.sh.req != nil && got[k].offset == "now" || f.sh.changesOnly && !heard {
		return false
	}
	for k := i; k < len(got) && (k == i || got[k].offset != "-1" && got[k].offset != "now" && got[k].status != 409); k++ {
		if got[k].saysUpToDate() {
			return true
		}
	}
	return false
}

// notices reports whether the judge finds fault with what a follower would have
// received.
func (j *liveJudge) notices(f *follower, got []*exchange) bool {
	bad, checks := j.read(f, got)
	if len(bad) > 0 {
		return true
	}
	return slices.ContainsFunc(checks, func(k liveCheck) bool {
		return j.differs(k) != ""
	})
}
