package answer

import (
	"crypto/sha256"
	"encoding/base64"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Version is one answer during one interval of positions. It is immutable but
// for its end, which is set once, and what is counted of it. There are as many as
// answers, so it holds nothing that can be made from the rest.
type Version struct {
	Body []byte
	From revision.LSN // true from here
	// Packed holds Body in another content coding, once somebody made it.
	Packed atomic.Pointer[[]byte]

	ended           atomic.Pointer[ending] // nil while it has not
	filled, expires int64                  // Unix nanoseconds
	reads           atomic.Uint32
	rated           bool // guarded by Store.mu; its reads count in its entry's rate
	Found           bool
	tag             tag
}

// ending says how a version ended.
type ending struct {
	to     revision.LSN // the end of the transaction from which it is not true
	last   revision.LSN // the last position that it is true at, where that transaction's commit record starts
	at     int64        // Unix nanoseconds
	reason Reason
}

// until returns the position before which the version is true, or 0 while it has
// not ended.
func (v *Version) until() revision.LSN {
	if e := v.ended.Load(); e != nil {
		return e.to
	}
	return 0
}

// last returns the last position that an ended version is known to be true at.
func (v *Version) last() revision.LSN {
	if e := v.ended.Load(); e != nil {
		return e.last
	}
	return 0
}

// endedAt returns when the version ended by Unix nanoseconds, or 0.
func (v *Version) endedAt() int64 {
	if e := v.ended.Load(); e != nil {
		return e.at
	}
	return 0
}

// TrueAt reports whether the version is known to be true at a position that the
// frontier has reached.
func (v *Version) TrueAt(p revision.LSN) bool {
	if p < v.From {
		return false
	}
	to := v.until()
	return to == 0 || p < to
}

// Interval returns the positions from which and before which the version is
// true. The second is 0 while it has not ended.
func (v *Version) Interval() (from, to revision.LSN) { return v.From, v.until() }

// Reason returns why the version ended, or nil.
func (v *Version) Reason() *Reason {
	if e := v.ended.Load(); e != nil && e.at != 0 {
		return &e.reason
	}
	return nil
}

// Filled returns when the version was computed.
func (v *Version) Filled() time.Time { return time.Unix(0, v.filled) }

// Expires returns when the version's time to live is over.
func (v *Version) Expires() time.Time { return time.Unix(0, v.expires) }

// EndedAt returns when the version ended, by the clock of this process. It is for
// versions that have ended.
func (v *Version) EndedAt() time.Time { return time.Unix(0, v.endedAt()) }

// maxReads bounds what is counted: a version that is read often stays in the
// caches of all cores.
const maxReads = 100

func (v *Version) read() {
	if v.reads.Load() < maxReads {
		v.reads.Add(1)
	}
}

// end sets the end of a version, which has none yet or stays as it is.
func (v *Version) end(last, to revision.LSN, now time.Time, r Reason) bool {
	if v.ended.Load() != nil {
		return false
	}
	v.ended.Store(&ending{to, last, now.UnixNano(), r})
	return true
}

func newVersion(body []byte, found bool, now time.Time, expires int64) *Version {
	return &Version{Body: body, Found: found, filled: now.UnixNano(), expires: expires, tag: tagOf(body)}
}

func resultVersion(res *Result, q *Query, now time.Time) *Version {
	return newVersion(res.Body, res.Found, now, now.Add(q.TTL).UnixNano())
}

// rawVersion wraps a result that no position is proven for.
func rawVersion(res *Result, q *Query, now time.Time) *Version {
	v := resultVersion(res, q, now)
	v.From = res.Upper
	v.ended.Store(&ending{to: res.Upper + 1})
	return v
}

// tag is a strong validator: 120 bits of SHA-256, so that equal tags mean equal
// bodies, in every process.
type tag [20]byte

func tagOf(body []byte) (t tag) {
	sum := sha256.Sum256(body)
	base64.RawURLEncoding.Encode(t[:], sum[:base64.RawURLEncoding.DecodedLen(len(t))])
	return t
}

// AppendETag appends a quoted strong validator of Body.
func (v *Version) AppendETag(b []byte) []byte {
	b = append(b, '"')
	b = append(b, v.tag[:]...)
	return append(b, '"')
}

// Age returns the whole seconds since the version was computed.
func (v *Version) Age(now time.Time) int64 {
	return max(0, (now.UnixNano()-v.filled)/int64(time.Second))
}

// TTL returns the whole seconds until the version's time to live is over.
func (v *Version) TTL(now time.Time) int64 {
	return (v.expires - now.UnixNano()) / int64(time.Second)
}
