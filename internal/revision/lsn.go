// Package revision names moments of one Postgres database: log positions,
// transaction ids, snapshots, and the tokens and consistency levels by which
// clients ask for them.
//
// The package is pure: no network, no clock, no log. Frontier and its waiters
// are safe for concurrent use; every other type is a value.
package revision

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log, as pg_lsn.
//
// Used as a revision, LSN p names the state that holds exactly the
// transactions whose commit record ends at or before p.
type LSN uint64

// String formats the position as Postgres does, "16/B374D848".
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// MarshalText makes positions readable in JSON and in logs.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// ParseLSN reads the form that String writes.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(hi, 16, 32)
	l, err2 := strconv.ParseUint(lo, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is not a log position such as 16/B374D848", s)
	}
	return LSN(h<<32 | l), nil
}

// Source identifies the log that positions belong to. Positions of different
// sources are not comparable.
type Source struct {
	SystemID uint64 // pg_control_system().system_identifier
	Timeline uint32
}

// XID is a 64-bit transaction id, as xid8: it never wraps around.
type XID uint64

// Widen turns the 32-bit id of a log message into the 64-bit id closest to
// near. It is exact while the two are within 2^31 of each other, which
// Postgres guarantees for ids that are in use together.
func Widen(x uint32, near XID) XID {
	d := int32(x - uint32(near)) //nolint: wraps on purpose
	return XID(int64(near) + int64(d))
}

// Snapshot is what one query saw: every transaction below Xmin, and those
// below Xmax that are not in Xip, provided that they committed. It is not a
// prefix of log order.
type Snapshot struct {
	Xmin, Xmax XID
	Xip        []XID // in progress, ascending
}

// ParseSnapshot reads the text form of pg_snapshot, "10:20:10,14".
func ParseSnapshot(s string) (Snapshot, error) {
	bad := func() (Snapshot, error) {
		return Snapshot{}, fmt.Errorf("%q is not a snapshot such as 10:20:10,14", s)
	}
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return bad()
	}
	xmin, err1 := strconv.ParseUint(parts[0], 10, 64)
	xmax, err2 := strconv.ParseUint(parts[1], 10, 64)
	if err1 != nil || err2 != nil {
		return bad()
	}
	snap := Snapshot{Xmin: XID(xmin), Xmax: XID(xmax)}
	if parts[2] == "" {
		return snap, nil
	}
	for _, p := range strings.Split(parts[2], ",") {
		x, err := strconv.ParseUint(p, 10, 64)
		if err != nil {
			return bad()
		}
		snap.Xip = append(snap.Xip, XID(x))
	}
	return snap, nil
}

// Contains reports whether a committed transaction is inside the snapshot.
// Only top-level ids are compared: Postgres lists no sub-transactions.
func (s *Snapshot) Contains(x XID) bool {
	if x < s.Xmin {
		return true
	}
	if x >= s.Xmax {
		return false
	}
	for _, p := range s.Xip {
		if p == x {
			return false
		}
	}
	return true
}

func (s Snapshot) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%d:", s.Xmin, s.Xmax)
	for i, x := range s.Xip {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d", x)
	}
	return b.String()
}
