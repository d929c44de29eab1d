package liveapi

import "strings"

// parseColumns reads a list of column names.
func parseColumns(list string) (names []string, ok bool) {
	for rest := list; ; {
		var name string
		if rest, name, ok = parseColumn(strings.TrimSpace(rest)); !ok {
			return nil, false
		}
		names = append(names, name)
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return names, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		rest = rest[1:]
	}
}

// parseColumn reads the name that a text begins with.
func parseColumn(s string) (rest, name string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := 0
		for end < len(s) && isNamePart(s[end], end == 0) {
			end++
		}
		return s[end:], lower(s[:end]), end > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return s[i+1:], b.String(), b.Len() > 0
	}
	return "", "", false
}

func isNamePart(c byte, first bool) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
	return letter || !first && (c >= '0' && c <= '9' || c == '$')
}

// lower folds ASCII letters, as Postgres does in names.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
