package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var plain = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

// quote writes a name as SQL.
func quote(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// parseName reads names with dots in between, as SQL has them.
func parseName(s string) (parts []string, err error) {
	rest := strings.TrimSpace(s)
	for {
		var part string
		if part, rest, err = firstName(rest); err != nil {
			return nil, fmt.Errorf("%.80q is not a name: %w", s, err)
		}
		parts = append(parts, part)
		if rest == "" {
			return parts, nil
		}
		if rest[0] != '.' {
			return nil, fmt.Errorf("%.80q is not a name; one with other characters than letters, digits and _ needs double quotes", s)
		}
		rest = rest[1:]
	}
}

func firstName(s string) (name, rest string, err error) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		for {
			i := strings.IndexByte(quoted, '"')
			if i < 0 {
				return "", "", errors.New("a double quote is missing")
			}
			name += quoted[:i]
			if quoted = quoted[i+1:]; !strings.HasPrefix(quoted, `"`) {
				break
			}
			name, quoted = name+`"`, quoted[1:]
		}
		rest = quoted
	} else {
		end := strings.IndexFunc(s, func(r rune) bool {
			return r < 0x80 && r != '_' && r != '$' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		if end < 0 {
			end = len(s)
		}
		name, rest = lower(s[:end]), s[end:]
		if name != "" && (name[0] == '$' || name[0] >= '0' && name[0] <= '9') {
			return "", "", errors.New("it begins with a digit, so it needs double quotes")
		}
	}
	switch {
	case name == "":
		return "", "", errors.New("a part of it is empty")
	case len(name) > 63:
		return "", "", errors.New("a name has 63 bytes at most")
	case strings.ContainsRune(name, 0):
		return "", "", errors.New("it holds a zero byte")
	}
	return name, rest, nil
}

// lower folds as Postgres does in a database of UTF-8: ASCII only.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
