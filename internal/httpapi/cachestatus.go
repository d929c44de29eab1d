package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
)

func age(v *answer.Version, now time.Time) int64 {
	return max(0, int64(now.Sub(v.Filled)/time.Second))
}

// rendered returns the header values of a hit, which change once a second.
func rendered(v *answer.Version, now time.Time) *answer.Rendered {
	second := now.Unix()
	if m := v.Rendered.Load(); m != nil && m.Second == second {
		return m
	}
	m := &answer.Rendered{Second: second}
	m.Age[0] = strconv.FormatInt(age(v, now), 10)
	m.Status[0] = "tidemark; hit; ttl=" + strconv.FormatInt(ttl(v, now), 10)
	m.Head = []byte(statusLine(http.StatusOK) + "Age: " + m.Age[0] + "\r\nCache-Control: " + revalidate[0] +
		"\r\nCache-Status: " + m.Status[0] + "\r\nContent-Length: " + v.Length[0] + "\r\nContent-Type: " + typeJSON[0] +
		"\r\nEtag: " + v.ETag[0] + "\r\nVary: " + varyHeaders[0] + "\r\n" + HeaderToken + ": ")
	v.Rendered.Store(m)
	return m
}

func ttl(v *answer.Version, now time.Time) int64 {
	return int64(v.Expires().Sub(now) / time.Second)
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
		return rendered(r.Version, now).Status[0]
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
			b = strconv.AppendInt(b, ttl(r.Version, now), 10)
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
