package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/duration"
)

// reservedPrefix marks the parameter names and first path segments that
// tidemark keeps for itself.
const reservedPrefix = "tidemark"

// The keys of a header. The route has none: it is the first comment line.
const (
	keyTTL      = "ttl"
	keyResult   = "result"
	keyVolatile = "volatile"
	keyKey      = "key"
	keyAccount  = "account"
)

func headerKeys() []string { return []string{keyTTL, keyResult, keyVolatile, keyKey, keyAccount} }

// splitHeader takes "key: value (remark)" apart. It returns "" for a comment
// that is not of this form.
func splitHeader(comment string) (key, value string) {
	key, value, ok := strings.Cut(strings.TrimSpace(comment), ":")
	if !ok || key == "" || strings.HasPrefix(value, ":") {
		return "", ""
	}
	for i := 0; i < len(key); i++ {
		if !isNamePart(key[i]) && key[i] != '-' {
			return "", ""
		}
	}
	return strings.ToLower(key), dropRemark(value)
}

// dropRemark cuts text in parentheses from the end.
func dropRemark(s string) string {
	if i := strings.IndexByte(s, '('); i >= 0 {
		s = s[:i]
	}
	return strings.TrimSpace(s)
}

func (p *fileParser) header() {
	routed := false
	seen := map[string]bool{}
	for _, t := range p.head {
		if t.kind != tokenLineComment {
			continue
		}
		if !routed {
			routed = true
			p.route(t)
			continue
		}
		key, value := splitHeader(t.text)
		if key == "" {
			continue
		}
		if !slices.Contains(headerKeys(), key) {
			if near := nearestKey(key); near != "" {
				p.problem(t.pos, fmt.Sprintf("did you mean %s?", near), "unknown key %q", key)
			}
			continue
		}
		if seen[key] {
			p.problem(t.pos, "keep one of them", "%s is given twice", key)
			continue
		}
		seen[key] = true
		p.setting(t, key, value)
	}
	if !routed {
		p.problem(0, "begin the file with a line such as -- GET /v1/users/{id}", "the file has no route")
	}
	if p.f.Volatile && !seen[keyTTL] {
		p.problem(p.routePos(), "add a line such as -- ttl: 30s",
			"volatile: ok needs a ttl in the file, because nothing else ends such an answer")
	}
}

var routeLine = regexp.MustCompile(`^([A-Za-z]+)\s+(\S+)$`)

func (p *fileParser) route(t token) {
	const hint = "write -- GET /v1/users/{id} in the first line"
	m := routeLine.FindStringSubmatch(dropRemark(t.text))
	if m == nil || !strings.HasPrefix(m[2], "/") {
		p.problem(t.pos, hint, "the first comment line is not a route")
		return
	}
	if m[1] != "GET" {
		p.problem(t.pos, hint, "the method is %s, and endpoints are read with GET (HEAD comes with it)", m[1])
		return
	}
	r, err := parseRoute(m[2])
	if err != nil {
		p.problem(t.pos, "", "%s", err)
		return
	}
	if len(r.Segments) > 0 {
		if lit := r.Segments[0].Literal; strings.HasPrefix(lit, "_") || lit == reservedPrefix {
			p.problem(t.pos, "choose another first segment", "paths that begin with /%s are tidemark's own", lit)
		}
	}
	for _, name := range r.params() {
		if strings.HasPrefix(strings.ToLower(name), reservedPrefix) {
			p.problem(t.pos, "choose another name", "parameter names that begin with %s are tidemark's own", reservedPrefix)
		}
	}
	p.f.Route = r
}

func (p *fileParser) setting(t token, key, value string) {
	switch key {
	case keyTTL:
		d, err := duration.Parse(value)
		if err != nil || d <= 0 {
			p.problem(t.pos, "write a duration such as "+duration.Examples, "%q is not a time to live", value)
			return
		}
		p.f.TTL = d
	case keyResult:
		switch value {
		case "one":
			p.f.One = true
		case "many":
		default:
			p.problem(t.pos, "write one or many", "%q is not a result", value)
		}
	case keyVolatile:
		if value != "ok" {
			p.problem(t.pos, "write volatile: ok, or take the line out", "%q is not an answer to volatile", value)
			return
		}
		p.f.Volatile = true
	case keyKey:
		names, ok := parseColumns(value)
		if !ok {
			p.problem(t.pos, `write the names of result columns, as in key: id or key: user_id, "Part No"`, "%q is not a list of columns", value)
			return
		}
		for i, name := range names {
			if slices.Contains(names[:i], name) {
				p.problem(t.pos, "keep one of them", "the key names %s twice", name)
				return
			}
		}
		p.f.Key, p.f.keyPos = names, t.pos
	case keyAccount:
		names, ok := parseColumns(value)
		if !ok || len(names) != 1 {
			p.problem(t.pos, "write the name of one result column, as in account: account_id", "%q is not a column", value)
			return
		}
		p.f.Account, p.f.accountPos = names[0], t.pos
	}
}

// parseColumns reads names of columns with commas between them, as SQL has them:
// those without quotes are in lower case.
func parseColumns(list string) (names []string, ok bool) {
	for rest := list; ; {
		rest = strings.TrimSpace(rest)
		var name string
		if strings.HasPrefix(rest, `"`) {
			end := 1
			for ; end < len(rest); end++ {
				if rest[end] != '"' {
					continue
				}
				if end+1 < len(rest) && rest[end+1] == '"' {
					end++
					continue
				}
				break
			}
			if end >= len(rest) {
				return nil, false
			}
			name, rest = strings.ReplaceAll(rest[1:end], `""`, `"`), strings.TrimSpace(rest[end+1:])
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			name, rest = strings.ToLower(strings.TrimSpace(rest[:end])), rest[end:]
			for i := 0; i < len(name); i++ {
				if !isNamePart(name[i]) {
					return nil, false
				}
			}
		}
		if name == "" {
			return nil, false
		}
		names = append(names, name)
		switch {
		case rest == "":
			return names, true
		case rest[0] != ',':
			return nil, false
		}
		rest = rest[1:]
	}
}

// misplaced reports a setting that stands where it would have no effect.
func (p *fileParser) misplaced(t token) {
	if t.kind != tokenLineComment {
		return
	}
	if key, _ := splitHeader(t.text); slices.Contains(headerKeys(), key) {
		p.problem(t.pos, "move the line above the statement", "%s is set below the beginning of the statement", key)
	}
}

// nearestKey returns the key that a misspelt one probably means, or "".
func nearestKey(key string) string {
	for _, k := range headerKeys() {
		limit := 1
		if len(k) > 4 && k != keyAccount { // amount and count are words that remarks begin with
			limit = 2
		}
		if distance(key, k) <= limit {
			return k
		}
	}
	switch key {
	case "expires", "max-age", "max_age", "cache", "timeout":
		return keyTTL
	case "results", "returns", "rows":
		return keyResult
	case "primary-key", "primary_key", "pk":
		return keyKey
	case "account-column", "account_column":
		return keyAccount
	}
	return ""
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	row := make([][]int, len(a)+1)
	for i := range row {
		row[i] = make([]int, len(b)+1)
		row[i][0] = i
	}
	for j := range row[0] {
		row[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(row[i-1][j]+1, row[i][j-1]+1, row[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, row[i-2][j-2]+1)
			}
			row[i][j] = d
		}
	}
	return row[len(a)][len(b)]
}
