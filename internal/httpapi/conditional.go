package httpapi

import (
	"strconv"
	"strings"
)

// matches reports whether an If-None-Match field, all its lines, names the tag
// by weak comparison (RFC 9110, section 13.1.2). The tag of the compressed form
// names the same content.
func matches(lines []string, tag string) bool {
	packed := strings.TrimSuffix(tag, `"`) + `-gz"`
	for _, line := range lines {
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			if strings.HasPrefix(line, "*") {
				return true
			}
			line = strings.TrimPrefix(line, "W/")
			if !strings.HasPrefix(line, `"`) {
				break // not a list of tags; nothing in it counts
			}
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				break
			}
			if t := line[:end+2]; t == tag || t == packed {
				return true
			}
			line = line[end+2:]
		}
	}
	return false
}

// acceptsGzip reports whether an Accept-Encoding field takes gzip (RFC 9110,
// section 12.5.3).
func acceptsGzip(lines []string) bool {
	named, any := -1.0, -1.0
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(part, ";")
			q := 1.0
			if name, v, ok := strings.Cut(strings.TrimSpace(params), "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
				f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				if err != nil {
					f = 0
				}
				q = f
			}
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				named = q
			case "*":
				any = q
			}
		}
	}
	if named >= 0 {
		return named > 0
	}
	return any > 0
}
