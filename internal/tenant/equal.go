package tenant

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// equivalent reports whether two bodies differ at most in what their statement
// leaves open: the order of rows and of what is aggregated from them, and the
// last digits of floating-point sums.
func equivalent(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, ok1 := normalised(a)
	y, ok2 := normalised(b)
	return ok1 && ok2 && x == y
}

// normalised rewrites JSON with the elements of every array in order of their
// text, and fractions to twelve digits.
func normalised(body []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return "", false
	}
	return normal(v), true
}

func normal(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = normal(e)
		}
		slices.Sort(parts)
		return "[" + strings.Join(parts, ",") + "]"
	case map[string]any:
		parts := make([]string, 0, len(v))
		for name, e := range v {
			parts = append(parts, strconv.Quote(name)+":"+normal(e))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	case json.Number:
		text := v.String()
		if f, err := v.Float64(); err == nil && strings.ContainsAny(text, ".eE") && !math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'g', 12, 64)
		}
		return text
	case string:
		return strconv.Quote(v)
	}
	text, _ := json.Marshal(v) // null, true, false
	return string(text)
}
