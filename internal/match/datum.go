package match

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

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
	ClassText          // text, varchar, name, enum labels: equality of bytes, no order
	ClassBPChar        // character(n): trailing spaces do not count, no order
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

// Ordered reports whether the class has an order that Compare reproduces.
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
		s, ok := parseUUID(text)
		d.s = s
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

// Compare orders two Datums of one ordered class: -1, 0 or 1.
func (d Datum) Compare(o Datum) int {
	switch d.class {
	case ClassNumeric:
		return compareNumeric(d.s, o.s)
	case ClassUUID, ClassText, ClassBPChar:
		return strings.Compare(d.s, o.s)
	}
	switch {
	case d.i < o.i:
		return -1
	case d.i > o.i:
		return 1
	}
	return 0
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
		f = 0
		return 0
	}
	b := int64(math.Float64bits(f))
	if b < 0 {
		b = math.MinInt64 - b
	}
	return b
}

func parseUUID(b []byte) (string, bool) {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return "", false
	}
	var in [32]byte
	n := 0
	for _, c := range b {
		if c == '-' {
			continue
		}
		if n == 32 {
			return "", false
		}
		in[n] = c
		n++
	}
	var out [16]byte
	if n != 32 {
		return "", false
	}
	if _, err := hex.Decode(out[:], in[:]); err != nil {
		return "", false
	}
	return string(out[:]), true
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
	t, err := time.Parse("2006-01-02 15:04:05.999999", s)
	if err != nil {
		return 0, false
	}
	return t.UnixMicro(), true
}

// canonicalNumeric rewrites a decimal so that equal values have equal forms:
// sign, digits without leading zeros, then, if any, '.' and digits without
// trailing zeros. NaN and the infinities keep their names.
func canonicalNumeric(b []byte) (string, bool) {
	s := string(b)
	switch s {
	case "NaN", "Infinity", "-Infinity":
		return s, true
	}
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, frac, dotted := strings.Cut(s, ".")
	if whole == "" && frac == "" || dotted && strings.Contains(frac, ".") {
		return "", false
	}
	for _, part := range [2]string{whole, frac} {
		for i := 0; i < len(part); i++ {
			if part[i] < '0' || part[i] > '9' {
				return "", false
			}
		}
	}
	whole = strings.TrimLeft(whole, "0")
	frac = strings.TrimRight(frac, "0")
	if whole == "" && frac == "" {
		return "0", true
	}
	if frac == "" {
		return sign + whole, true
	}
	return sign + whole + "." + frac, true
}

// numericRank orders the special values: -Infinity < numbers < Infinity < NaN.
func numericRank(s string) int {
	switch s {
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
	if ra, rb := numericRank(a), numericRank(b); ra != 0 || rb != 0 {
		return compareInt(ra, rb)
	}
	negA, negB := strings.HasPrefix(a, "-"), strings.HasPrefix(b, "-")
	if negA != negB {
		if negA {
			return -1
		}
		return 1
	}
	if negA {
		return comparePositive(b[1:], a[1:])
	}
	return comparePositive(a, b)
}

func comparePositive(a, b string) int {
	wa, fa, _ := strings.Cut(strings.TrimPrefix(a, "0"), ".")
	wb, fb, _ := strings.Cut(strings.TrimPrefix(b, "0"), ".")
	if len(wa) != len(wb) {
		return compareInt(len(wa), len(wb))
	}
	if c := strings.Compare(wa, wb); c != 0 {
		return c
	}
	// Fractions without trailing zeros compare as text.
	return strings.Compare(fa, fb)
}

func compareInt(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
