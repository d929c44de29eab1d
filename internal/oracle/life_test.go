package oracle

import (
	"slices"
	"sort"
	"testing"
	"time"
)

// life is one of the server's, from one start to the next.
type life struct {
	ended   time.Time // before it was stopped or killed
	next    time.Time // before it was started again
	crashed bool      // what was acknowledged asynchronously may be lost
}

type lives []life

// at returns which life a moment belongs to.
func (l lives) at(t time.Time) int {
	return sort.Search(len(l), func(i int) bool { return l[i].next.After(t) })
}

// undone reports whether a transaction may have been undone by some moment.
func (l lives) undone(tx *transaction, by time.Time) bool {
	return tx.end == 0 && tx.life < len(l) && !by.Before(l[tx.life].ended)
}

// crashed reports whether a life ended with a crash.
func (l lives) crashed(n int) bool { return n < len(l) && l[n].crashed }

// TestOrderedAfterCrash has ids that a crash gives again: to another writer, and
// to a transaction that is none of the writers'.
func TestOrderedAfterCrash(t *testing.T) {
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	over := lives{{ended: at(10), next: at(11), crashed: true}}
	kept, first, second, alone := &transaction{xid: 5}, &transaction{xid: 6}, &transaction{xid: 6, life: 1}, &transaction{xid: 7}
	log := []commit{{xid: 5, end: 100, at: at(9)}, {xid: 7, end: 200, at: at(12)}, {xid: 6, end: 300, at: at(13)}}
	in, lost := ordered([]*transaction{first, second, alone, kept}, log, over)
	if !slices.Equal(in, []*transaction{kept, second}) || !slices.Equal(lost, []*transaction{first, alone}) {
		t.Errorf("in the log %v, lost %v", in, lost)
	}
	if !over.undone(alone, at(10)) || over.undone(alone, at(9)) || over.undone(kept, at(20)) || over.crashed(1) {
		t.Error("what was undone, and when")
	}
}
