package match

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// Class is a family of types whose equality and order tidemark reproduces
// exactly. Types of one class compare with each other by value.
type Class byte

// The classes. ClassNone is every type that is not known exactly.
const (
	ClassNone    Class = iota
	ClassBool          // boolean
	ClassInt           // smallint, integer, bigint, oid
	ClassNumeric       // numeric
	ClassFloat         // real, double precision (equal classes only within one type)
	ClassText          // text, varchar, name, enum labels: equality and order of bytes
	ClassBPChar        // character(n): as text without trailing spaces
	ClassUUID          // uuid
	ClassDate          // date
	ClassTime          // timestamp, timestamptz (in UTC)
)

// ClassOf returns the class of a built-in type, or ClassNone. Enum types are
// ClassText; the caller, who knows that a type is an enum, says so.
func ClassOf(typ catalog.OID) Class {
	switch typ {
	case 16:
		return ClassBool
	case 20, 21, 23, 26:
		return ClassInt
	case 1700:
		return ClassNumeric
	case 700, 701:
		return ClassFloat
	case 25, 1043, 19:
		return ClassText
	case 1042:
		return ClassBPChar
	case 2950:
		return ClassUUID
	case 1082:
		return ClassDate
	case 1114, 1184:
		return ClassTime
	}
	return ClassNone
}

// Ordered reports whether Compare reproduces the order of the class's types,
// whatever their collation.
func (c Class) Ordered() bool {
	switch c {
	case ClassInt, ClassNumeric, ClassFloat, ClassUUID, ClassDate, ClassTime, ClassBool:
		return true
	}
	return false
}

// Datum is one value in comparable form. Two Datums of one class are equal as
// Go values if and only if Postgres's = holds.
type Datum struct {
	class Class
	i     int64
	s     string
}

// ParseDatum reads the text form of a value, as the log writes it (see
// change.Value). It returns false where the form is not one that it knows
// exactly; the value is then unknown, not different.
func ParseDatum(class Class, text []byte) (Datum, bool) {
	d := Datum{class: class}
	switch class {
	case ClassBool:
		switch string(text) {
		case "t", "true":
			d.i = 1
		case "f", "false":
		default:
			return Datum{}, false
		}
		return d, true
	case ClassInt:
		i, ok := parseInt(text)
		d.i = i
		return d, ok
	case ClassNumeric:
		s, ok := canonicalNumeric(text)
		d.s = s
		return d, ok
	case ClassFloat:
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return Datum{}, false
		}
		d.i = floatKey(f)
		return d, true
	case ClassText:
		d.s = string(text)
		return d, true
	case ClassBPChar:
		d.s = strings.TrimRight(string(text), " ")
		return d, true
	case ClassUUID:
		id, ok := parseUUID(text)
		d.s = string(id[:])
		return d, ok
	case ClassDate:
		i, ok := parseDate(string(text))
		d.i = i
		return d, ok
	case ClassTime:
		i, ok := parseTimestamp(string(text))
		d.i = i
		return d, ok
	}
	return Datum{}, false
}

// viewDatum is ParseDatum for a Datum that is dropped before the text is: it
// shares the bytes of the classes whose form is the text.
func viewDatum(class Class, text []byte) (Datum, bool) {
	switch class {
	case ClassBPChar:
		text = bytes.TrimRight(text, " ")
		fallthrough
	case ClassText:
		return Datum{class: class, s: unsafe.String(unsafe.SliceData(text), len(text))}, true
	}
	return ParseDatum(class, text)
}

// rank orders Datums of one class in a way that is fast to compute and means
// nothing.
func (d Datum) rank(o Datum) int {
	if c := cmp.Compare(d.i, o.i); c != 0 {
		return c
	}
	return strings.Compare(d.s, o.s)
}

// Compare orders two Datums of one class: -1, 0 or 1. Text is ordered by bytes.
func (d Datum) Compare(o Datum) int {
	switch d.class {
	case ClassNumeric:
		return compareNumeric(d.s, o.s)
	case ClassUUID, ClassText, ClassBPChar:
		return strings.Compare(d.s, o.s)
	}
	return cmp.Compare(d.i, o.i)
}

// Class returns the value's class.
func (d Datum) Class() Class { return d.class }

func parseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	neg := b[0] == '-'
	if neg {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var u uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n := u*10 + uint64(c-'0')
		if n < u {
			return 0, false
		}
		u = n
	}
	if neg {
		if u > 1<<63 {
			return 0, false
		}
		return -int64(u), true
	}
	if u > math.MaxInt64 {
		return 0, false
	}
	return int64(u), true
}

// floatKey maps a float to an integer of the same order; -0 equals 0, and NaN
// equals NaN and is greater than everything, as in Postgres.
func floatKey(f float64) int64 {
	if math.IsNaN(f) {
		return math.MaxInt64
	}
	if f == 0 {
		return 0
	}
	b := int64(math.Float64bits(f))
	if b < 0 {
		b = math.MinInt64 - b
	}
	return b
}

func parseUUID(b []byte) (id [16]byte, ok bool) {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return id, false
	}
	var in [32]byte
	n := 0
	for _, c := range b {
		if c == '-' {
			continue
		}
		if n == 32 {
			return id, false
		}
		in[n] = c
		n++
	}
	if n != 32 {
		return id, false
	}
	_, err := hex.Decode(id[:], in[:])
	return id, err == nil
}

func parseDate(s string) (int64, bool) {
	switch s {
	case "infinity":
		return math.MaxInt64, true
	case "-infinity":
		return math.MinInt64, true
	}
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		return 0, false
	}
	return t.Unix() / 86400, true
}

func parseTimestamp(s string) (int64, bool) {
	switch s {
	case "infinity":
		return math.MaxInt64, true
	case "-infinity":
		return math.MinInt64, true
	}
	// The log writes zone +00 and no zone for timestamp; both are UTC here.
	s = strings.TrimSuffix(s, "+00")
	const layout = "2006-01-02 15:04:05.999999"
	t, err := time.Parse(layout, s)
	// Postgres rounds what is finer than a microsecond.
	if err != nil || len(s) > len(layout) {
		return 0, false
	}
	return t.UnixMicro(), true
}

// canonicalNumeric rewrites a decimal so that equal values have equal forms: a
// sign, digits with no zero in front of another, then, if any, '.' and digits
// that do not end with a zero. NaN and the infinities keep their names.
func canonicalNumeric(b []byte) (string, bool) {
	if specialNumeric(b) != 0 {
		return string(b), true
	}
	d, ok := parseDecimal(b)
	return d.text(), ok
}

// decimal is a number in canonical parts.
type decimal struct {
	negative    bool
	whole, frac []byte
}

func parseDecimal(b []byte) (d decimal, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		d.negative, b = true, b[1:]
	}
	whole, frac, _ := bytes.Cut(b, dot)
	if len(whole) == 0 && len(frac) == 0 || !digits(whole) || !digits(frac) {
		return decimal{}, false
	}
	if whole = bytes.TrimLeft(whole, "0"); len(whole) == 0 {
		whole = zero
	}
	d.whole, d.frac = whole, bytes.TrimRight(frac, "0")
	if len(d.frac) == 0 && d.whole[0] == '0' {
		d.negative = false
	}
	return d, true
}

var dot, zero = []byte("."), []byte("0")

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (d decimal) text() string {
	b := make([]byte, 0, 32)
	if d.negative {
		b = append(b, '-')
	}
	b = append(b, d.whole...)
	if len(d.frac) > 0 {
		b = append(append(b, '.'), d.frac...)
	}
	return string(b)
}

// specialNumeric orders the values that are not numbers around those that are:
// -Infinity < numbers (0) < Infinity < NaN.
func specialNumeric[S ~string | ~[]byte](s S) int {
	switch string(s) {
	case "-Infinity":
		return -1
	case "Infinity":
		return 1
	case "NaN":
		return 2
	}
	return 0
}

func compareNumeric(a, b string) int {
	if ra, rb := specialNumeric(a), specialNumeric(b); ra != 0 || rb != 0 {
		return cmp.Compare(ra, rb)
	}
	negA, negB := strings.HasPrefix(a, "-"), strings.HasPrefix(b, "-")
	switch {
	case negA && negB:
		return comparePositive(b[1:], a[1:])
	case negA:
		return -1
	case negB:
		return 1
	}
	return comparePositive(a, b)
}

func comparePositive(a, b string) int {
	wa, fa, _ := strings.Cut(a, ".")
	wb, fb, _ := strings.Cut(b, ".")
	if c := cmp.Compare(len(wa), len(wb)); c != 0 {
		return c
	}
	if c := strings.Compare(wa, wb); c != 0 {
		return c
	}
	// Fractions without trailing zeros compare as text.
	return strings.Compare(fa, fb)
}
