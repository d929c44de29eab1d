package answer

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Version is one answer during one interval of positions. It is immutable but
// for its end, which is set once.
type Version struct {
	Body   []byte
	Found  bool
	ETag   [1]string // a quoted strong validator of Body
	Length [1]string // of Body, decimal
	Filled time.Time
	From   revision.LSN // true from here

	to      atomic.Uint64 // 0, or the end of the transaction from which it is not true
	last    atomic.Uint64 // the last position that it is true at, where that transaction's commit record starts
	endedAt atomic.Int64  // Unix nanoseconds
	reason  atomic.Pointer[Reason]
	reads   atomic.Uint32
	rated   bool  // guarded by Store.mu; its reads count in its entry's rate
	expires int64 // Unix nanoseconds

	// Rendered is what a face last wrote beside the body, for the next reader of
	// the same second.
	Rendered atomic.Pointer[Rendered]
	// Packed holds Body in another content coding, once somebody made it.
	Packed atomic.Pointer[[]byte]
}

// Rendered holds header values that are good for one second.
type Rendered struct {
	Second      int64 // Unix
	Age, Status [1]string
	Head        []byte // the header lines of a hit, but for those that change with every commit
}

// TrueAt reports whether the version is known to be true at a position that the
// frontier has reached.
func (v *Version) TrueAt(p revision.LSN) bool {
	to := revision.LSN(v.to.Load())
	return p >= v.From && (to == 0 || p < to)
}

// Interval returns the positions from which and before which the version is
// true. The second is 0 while it has not ended.
func (v *Version) Interval() (from, to revision.LSN) {
	return v.From, revision.LSN(v.to.Load())
}

// Reason returns why the version ended, or nil.
func (v *Version) Reason() *Reason { return v.reason.Load() }

// Expires returns when the version's time to live is over.
func (v *Version) Expires() time.Time { return time.Unix(0, v.expires) }

// EndedAt returns when the version ended, by the clock of this process. It is for
// versions that have ended.
func (v *Version) EndedAt() time.Time { return time.Unix(0, v.endedAt.Load()) }

// maxReads bounds what is counted: a version that is read often stays in the
// caches of all cores.
const maxReads = 100

func (v *Version) read() {
	if v.reads.Load() < maxReads {
		v.reads.Add(1)
	}
}

func (v *Version) end(last, to revision.LSN, now time.Time, r *Reason) bool {
	if v.to.Load() != 0 {
		return false
	}
	v.reason.Store(r)
	v.endedAt.Store(now.UnixNano())
	v.last.Store(uint64(last))
	v.to.Store(uint64(to))
	return true
}

func newVersion(body []byte, found bool, now time.Time, expires int64) *Version {
	v := &Version{Body: body, Found: found, Filled: now, expires: expires}
	v.ETag[0] = etag(body)
	v.Length[0] = strconv.Itoa(len(body))
	return v
}

func resultVersion(res *Result, q *Query, now time.Time) *Version {
	return newVersion(res.Body, res.Found, now, now.Add(q.TTL).UnixNano())
}

// rawVersion wraps a result that no position is proven for.
func rawVersion(res *Result, q *Query, now time.Time) *Version {
	v := resultVersion(res, q, now)
	v.From = res.Upper
	v.to.Store(uint64(res.Upper) + 1)
	return v
}

// etag returns a strong validator: 120 bits of SHA-256, so that equal tags mean
// equal bodies, in every process.
func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}
