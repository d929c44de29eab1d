package query

import (
	"fmt"
	"net/url"
	"strings"
)

// Segment is one step of a path: a literal, or a parameter when Param is set.
type Segment struct {
	Literal string // percent-decoded
	Param   string
}

// Route is the address of an endpoint: its method, always GET, and its path.
type Route struct {
	Path     string // as written, "/v1/users/{id}"
	Segments []Segment
}

// String returns "GET /v1/users/{id}".
func (r Route) String() string { return "GET " + r.Path }

// shape is equal for two routes that match the same paths.
func (r Route) shape() string {
	var b strings.Builder
	for _, s := range r.Segments {
		b.WriteByte('/')
		if s.Param != "" {
			b.WriteString("{}")
		} else {
			b.WriteString(escape(s.Literal))
		}
	}
	return b.String()
}

// params returns the names of the path parameters.
func (r Route) params() []string {
	var out []string
	for _, s := range r.Segments {
		if s.Param != "" {
			out = append(out, s.Param)
		}
	}
	return out
}

// parseRoute reads a path such as /v1/users/{id}/orders.
func parseRoute(path string) (Route, error) {
	r := Route{Path: path}
	if !strings.HasPrefix(path, "/") {
		return r, fmt.Errorf("the path %q does not begin with /", path)
	}
	if path == "/" {
		return r, nil
	}
	seen := map[string]bool{}
	for _, part := range strings.Split(path[1:], "/") {
		if part == "" {
			return r, fmt.Errorf("the path %q has an empty segment", path)
		}
		if strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}") {
			name := part[1 : len(part)-1]
			if !isParamName(name) {
				return r, fmt.Errorf("%q is not a path parameter: a name is letters, digits and _, and does not begin with a digit", part)
			}
			if seen[name] {
				return r, fmt.Errorf("the path names {%s} twice", name)
			}
			seen[name] = true
			r.Segments = append(r.Segments, Segment{Param: name})
			continue
		}
		if strings.ContainsAny(part, "{}") {
			return r, fmt.Errorf("the segment %q is neither a literal nor a parameter: {name} has to be the whole segment", part)
		}
		for _, c := range part {
			if c > 0x7e || !isPathByte(byte(c)) {
				return r, fmt.Errorf("the character %q cannot stand in a path", string(c))
			}
		}
		lit, err := url.PathUnescape(part)
		if err != nil {
			return r, fmt.Errorf("the segment %q is not properly percent-encoded", part)
		}
		if lit == "." || lit == ".." {
			return r, fmt.Errorf("a path cannot have the segment %q", part)
		}
		r.Segments = append(r.Segments, Segment{Literal: lit})
	}
	return r, nil
}

// isParamName reports whether :name is one parameter.
func isParamName(s string) bool {
	if s == "" || !isParamStart(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isParamPart(s[i]) {
			return false
		}
	}
	return true
}

// isPathByte accepts what RFC 3986 calls pchar, and the percent sign.
func isPathByte(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("!$&'()*+,;=:@%", c) >= 0
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// escape percent-encodes everything but RFC 3986's unreserved characters, so
// that equal strings have one form in paths and queries alike.
func escape(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !isUnreserved(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	return string(appendEscaped(b, s))
}

func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; isUnreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
