package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
)

// The header lines of a hit with what is the same in all of them, as far as the
// value of its token. Nobody keeps those of an answer: there may be millions.
var (
	hitAge    = statusLine(http.StatusOK) + "Age: "
	hitStatus = "\r\nCache-Control: " + revalidate[0] + "\r\nCache-Status: " + statusHit
	hitLength = "\r\nContent-Length: "
	hitTag    = "\r\nContent-Type: " + typeJSON[0] + "\r\nEtag: "
	hitToken  = "\r\nVary: " + varyHeaders[0] + "\r\n" + HeaderToken + ": "
)

const statusHit = "tidemark; hit; ttl="

// appendHit appends the head of a hit up to the value of its token.
func appendHit(b []byte, v *answer.Version, now time.Time) []byte {
	b = strconv.AppendInt(append(b, hitAge...), v.Age(now), 10)
	b = strconv.AppendInt(append(b, hitStatus...), v.TTL(now), 10)
	b = strconv.AppendInt(append(b, hitLength...), int64(len(v.Body)), 10)
	b = v.AppendETag(append(b, hitTag...))
	return append(b, hitToken...)
}

// rendered holds the header values of one version's reply, each as a header has it.
type rendered struct{ age, status, length, etag [1]string }

// render makes the header values of a reply.
func render(r *answer.Reply, now time.Time) *rendered {
	v := r.Version
	// One string holds all that are short, as each is kept as long as the others.
	var short [128]byte
	b := strconv.AppendInt(short[:0], v.Age(now), 10)
	n := len(b)
	b = strconv.AppendInt(b, int64(len(v.Body)), 10)
	m := len(b)
	b = v.AppendETag(b)
	text := string(b)
	return &rendered{
		age: [1]string{text[:n]}, length: [1]string{text[n:m]}, etag: [1]string{text[m:]},
		status: [1]string{cacheStatus(r, now)},
	}
}

// staleFor returns the ttl of an answer that is not true any more: below zero by
// the seconds since it ended, of which one has always begun.
func staleFor(v *answer.Version, now time.Time) int64 {
	return min(-1, -1-int64(now.Sub(v.EndedAt())/time.Second))
}

// cacheStatus says how a reply came about (RFC 9211).
func cacheStatus(r *answer.Reply, now time.Time) string {
	b := []byte("tidemark")
	detail := ""
	switch {
	case r.Outcome == answer.Hit:
		return statusHit + strconv.FormatInt(r.Version.TTL(now), 10)
	case r.Outcome == answer.Stale:
		b = append(b, "; hit; ttl="...)
		b = strconv.AppendInt(b, staleFor(r.Version, now), 10)
		detail = "stale: "
	case r.Outcome == answer.Pinned:
		b = append(b, "; fwd=request; stored"...)
		detail = "pinned snapshot"
	case r.Ended != nil:
		b = append(b, "; fwd=stale"...)
	default:
		b = append(b, "; fwd=uri-miss"...)
	}
	if r.Outcome == answer.Filled {
		if r.Stored {
			b = append(b, "; stored; ttl="...)
			b = strconv.AppendInt(b, r.Version.TTL(now), 10)
		}
		if r.Joined {
			b = append(b, "; collapsed"...)
		}
	}
	if r.Ended != nil {
		detail += r.Ended.String()
	}
	if !r.Exact {
		if detail != "" {
			detail += "; "
		}
		detail += "not proven equal to one position"
	}
	if detail != "" {
		b = append(b, "; detail="...)
		b = appendString(b, detail)
	}
	return string(b)
}

// appendString writes a Structured Field string (RFC 9651, section 3.3.3). What
// is not printable ASCII becomes a question mark.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
