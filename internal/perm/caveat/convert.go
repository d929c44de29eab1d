package caveat

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// adapter turns the Go values that any, list and map hold into CEL's.
var adapter = types.DefaultTypeAdapter

// convert turns a decoded JSON value into one of the type. JSON has fewer types:
// int, uint and double may be written as strings, which alone can hold every
// 64-bit number; bytes are base64, durations such as 1h30m, timestamps RFC 3339.
func (t *Type) convert(value any) (ref.Val, error) {
	switch t.kind {
	case anyKind:
		return anyValue(value)
	case boolKind:
		if b, ok := value.(bool); ok {
			return types.Bool(b), nil
		}
	case intKind:
		return t.number(value, integer)
	case uintKind:
		return t.number(value, unsigned)
	case doubleKind:
		return t.number(value, double)
	case listKind:
		if items, ok := value.([]any); ok {
			return t.list(items)
		}
	case mapKind:
		if entries, ok := value.(map[string]any); ok {
			return t.mapping(entries)
		}
	default:
		if s, ok := value.(string); ok {
			return t.text(s)
		}
	}
	return nil, t.mismatch(value)
}

func (t *Type) mismatch(value any) error {
	form := ""
	switch t.kind {
	case bytesKind:
		form = ", written as a base64 string"
	case durationKind:
		form = `, written as a string such as "1h30m"`
	case timestampKind:
		form = `, written as a string such as "2030-01-01T00:00:00Z"`
	case ipKind:
		form = `, written as a string such as "10.0.0.1"`
	}
	return fmt.Errorf("%s is expected%s; the value is %s", t, form, describe(value))
}

// describe names a JSON value's kind, and the value itself where it is short.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprintf("the bool %t", v)
	case float64:
		return "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case json.Number:
		return fmt.Sprintf("the number %.40s", v.String())
	case string:
		return fmt.Sprintf("the string %.60q", v)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("of a kind that JSON does not have (%T)", value)
}

func (t *Type) list(items []any) (ref.Val, error) {
	values := make([]ref.Val, len(items))
	for i, item := range items {
		v, err := t.of.convert(item)
		if err != nil {
			return nil, fmt.Errorf("item %d of the list: %w", i, err)
		}
		values[i] = v
	}
	return types.NewRefValList(adapter, values), nil
}

func (t *Type) mapping(entries map[string]any) (ref.Val, error) {
	values := make(map[string]any, len(entries))
	for key, entry := range entries {
		v, err := t.of.convert(entry)
		if err != nil {
			return nil, fmt.Errorf("the entry %.60q of the map: %w", key, err)
		}
		values[key] = v
	}
	return types.NewStringInterfaceMap(adapter, values), nil
}

// text converts to the types that JSON writes as strings.
func (t *Type) text(s string) (ref.Val, error) {
	switch t.kind {
	case stringKind:
		return types.String(s), nil
	case bytesKind:
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			return types.Bytes(b), nil
		}
	case durationKind:
		if d, err := time.ParseDuration(s); err == nil {
			return types.Duration{Duration: d}, nil
		}
	case timestampKind:
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
			if year := at.UTC().Year(); year < 1 || year > 9999 {
				return nil, fmt.Errorf("a timestamp is between the years 1 and 9999; the value is %.60q", s)
			}
			return types.Timestamp{Time: at}, nil
		}
	case ipKind:
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return address{a}, nil
		}
	}
	return nil, t.mismatch(s)
}

// anyValue converts numbers to double, as a request's JSON has them.
func anyValue(value any) (ref.Val, error) {
	switch v := value.(type) {
	case nil:
		return types.NullValue, nil
	case bool:
		return types.Bool(v), nil
	case string:
		return types.String(v), nil
	case float64:
		return types.Double(v), nil
	case json.Number:
		return double(v.String())
	case []any:
		return anyHolder.list(v)
	case map[string]any:
		return anyHolder.mapping(v)
	}
	return nil, errors.New("the value is " + describe(value))
}

// anyHolder is a list or a map of any.
var anyHolder = &Type{kind: listKind, of: &Type{kind: anyKind}}

var (
	errNotNumber = errors.New("not a number")
	errFraction  = errors.New("it has a fraction")
	errRange     = errors.New("it is out of range")
	errPrecision = errors.New("beyond 2^53, whole numbers are written without fraction and exponent")
)

// number converts a JSON number, or a string that reads as one.
func (t *Type) number(value any, parse func(string) (ref.Val, error)) (ref.Val, error) {
	var v ref.Val
	var err error
	switch n := value.(type) {
	case float64:
		v, err = t.float(n)
	case json.Number:
		v, err = parse(n.String())
	case string:
		v, err = parse(n)
	default:
		return nil, t.mismatch(value)
	}
	switch {
	case err == nil:
		return v, nil
	case errors.Is(err, errNotNumber):
		return nil, t.mismatch(value)
	}
	return nil, fmt.Errorf("%w: %w", t.mismatch(value), err)
}

// float converts a number that has already been through a double.
func (t *Type) float(f float64) (ref.Val, error) {
	if t.kind == doubleKind {
		return types.Double(f), nil
	}
	if f != math.Trunc(f) { // true of what is no number, too
		return nil, errFraction
	}
	switch {
	case t.kind == intKind && f >= -(1<<63) && f < 1<<63:
		return types.Int(f), nil
	case t.kind == uintKind && f >= 0 && f < 1<<64:
		return types.Uint(f), nil
	}
	return nil, errRange
}

func double(text string) (ref.Val, error) {
	f, err := parseFloat(text)
	return types.Double(f), err
}

func integer(text string) (ref.Val, error) {
	i, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return types.Int(i), nil
	}
	f, err := wholeFloat(text, err)
	return types.Int(f), err
}

func unsigned(text string) (ref.Val, error) {
	u, err := strconv.ParseUint(text, 10, 64)
	if err == nil {
		return types.Uint(u), nil
	}
	f, err := wholeFloat(text, err)
	if err == nil && f < 0 {
		return nil, errRange
	}
	return types.Uint(f), err
}

// wholeFloat reads a number with a fraction of zeros or an exponent, such as 4e2.
// Beyond 2^53 a double might be the neighbour of what was written.
func wholeFloat(text string, parsing error) (float64, error) {
	if errors.Is(parsing, strconv.ErrRange) {
		return 0, errRange
	}
	f, err := parseFloat(text)
	switch {
	case err != nil:
		return 0, err
	case f != math.Trunc(f):
		return 0, errFraction
	case math.Abs(f) >= 1<<64:
		return 0, errRange
	case math.Abs(f) >= 1<<53:
		return 0, errPrecision
	}
	return f, nil
}

// parseFloat reads a decimal number. Go's other spellings (hexadecimal, NaN,
// underscores) are none.
func parseFloat(text string) (float64, error) {
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, errNotNumber
	}
	f, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errRange
	}
	if err != nil {
		return 0, errNotNumber
	}
	return f, nil
}
