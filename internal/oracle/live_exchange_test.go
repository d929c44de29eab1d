package oracle

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// place is an offset: two numbers.
type place struct {
	lsn   uint64
	index uint64
}

func (p place) before(q place) bool { return p.lsn < q.lsn || p.lsn == q.lsn && p.index < q.index }

// parsePlace reads an offset. The clients of event streams make theirs of a
// position, and mean all of it.
func parsePlace(s string) (place, error) {
	lsn, index, ok := strings.Cut(s, "_")
	l, err := strconv.ParseUint(lsn, 10, 64)
	i, err2 := strconv.ParseUint(index, 10, 64)
	if !ok || err != nil || err2 != nil {
		return place{}, fmt.Errorf("%q is no offset", s)
	}
	if i == 0 && len(lsn) > 1 && lsn[0] == '0' {
		i = 1<<53 - 1
	}
	return place{l, i}, nil
}

// liveMessage is one message of a shape.
type liveMessage struct {
	Key     *string            `json:"key"`
	Value   map[string]*string `json:"value"`
	Old     map[string]*string `json:"old_value"`
	Headers struct {
		Operation  string   `json:"operation"`
		Control    string   `json:"control"`
		Relation   []string `json:"relation"`
		LSN        string   `json:"lsn"`
		OpPosition *uint64  `json:"op_position"`
		TxIDs      []uint32 `json:"txids"`
		Last       bool     `json:"last"`
		Seen       string   `json:"global_last_seen_lsn"`
		Token      string   `json:"token"`
		Xmin       string   `json:"xmin"`
		Xmax       string   `json:"xmax"`
		Xip        []string `json:"xip_list"`
	} `json:"headers"`
}

// exchange is one response that a follower has got whole, or one batch of a
// stream.
type exchange struct {
	offset, handle string // that were asked for
	live, stream   bool
	need           string // token of at_least_as_fresh
	begun, ended   time.Time

	status    int
	newHandle string // electric-handle
	end       string // electric-offset
	upToDate  bool   // the header says so
	token     string
	messages  []liveMessage
	body      string // of an error
	final     bool   // asked with everything at rest
	subset    *subset
	owner     *follower
}

func (x *exchange) String() string {
	s := fmt.Sprintf("offset %s of %q, live %v, stream %v, need %q, from %s to %s: %d, handle %q, offset %s, up to date %v, %d messages", x.offset, x.handle,
		x.live, x.stream, x.need, clock(x.begun), clock(x.ended), x.status, x.newHandle, x.end, x.upToDate, len(x.messages))
	if x.subset != nil {
		s += fmt.Sprintf(", a subset %s of %d rows", x.subset, len(x.subset.Data))
	}
	if x.body != "" {
		s += " " + x.body
	}
	return s
}

func (x *exchange) saysUpToDate() bool {
	n := len(x.messages)
	return n > 0 && x.messages[n-1].Headers.Control == "up-to-date"
}
