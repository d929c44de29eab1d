package live

import (
	"strconv"
)

// Column is one column that a shape delivers.
type Column struct {
	Name    string
	Type    *Type // nil: text of which nothing is known
	NotNull bool
	Key     int // place in the key from 1, or 0
}

// Schema returns the electric-schema header for columns: an object in ASCII. A
// name that occurs twice is there once, for the later one, as in values.
func Schema(columns []Column) string {
	b := []byte{'{'}
	for i, c := range columns {
		if shadowed(columns, i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendASCII(b, c.Name), ':')
		b = appendType(b, c.Type)
		if c.NotNull {
			b = append(b, `,"not_null":true`...)
		}
		b = append(b, '}')
	}
	return string(append(b, '}'))
}

// shadowed reports whether a later column has the name of column i. In an object
// the later one is what a client sees.
func shadowed(columns []Column, i int) bool {
	for _, c := range columns[i+1:] {
		if c.Name == columns[i].Name {
			return true
		}
	}
	return false
}

// appendType appends what is said of a type, less the closing brace.
func appendType(b []byte, t *Type) []byte {
	if t == nil {
		return append(b, `{"type":"text"`...)
	}
	of := t
	if t.Elem != nil && t.Elem.Elem == nil {
		of = t.Elem
	}
	b = appendASCII(append(b, `{"type":`...), of.Name)
	if t.Elem != nil {
		b = strconv.AppendInt(append(b, `,"dims":`...), int64(t.Dims), 10)
	}
	return appendModifier(b, of)
}

// appendModifier appends what a modifier says, in the forms that
// https://www.postgresql.org/docs/current/catalog-pg-attribute.html leaves to the
// types: a length plus 4, two numbers in one, or a number as it is.
func appendModifier(b []byte, t *Type) []byte {
	if t.Mod < 0 {
		return b
	}
	number := func(name string, v int32) { b = strconv.AppendInt(append(b, name...), int64(v), 10) }
	switch t.Name {
	case "varchar":
		number(`,"max_length":`, t.Mod-4)
	case "bpchar":
		number(`,"length":`, t.Mod-4)
	case "bit", "varbit":
		number(`,"length":`, t.Mod)
	case "time", "timetz", "timestamp", "timestamptz":
		number(`,"precision":`, t.Mod)
	case "numeric":
		number(`,"precision":`, (t.Mod-4)>>16&0xffff)
		number(`,"scale":`, ((t.Mod-4)&0x7ff^0x400)-0x400) // eleven bits with a sign
	case "interval":
		if p := t.Mod & 0xffff; p != 0xffff {
			number(`,"precision":`, p)
		}
		if fields := intervalFields(t.Mod >> 16 & 0x7fff); fields != "" {
			b = append(append(append(b, `,"fields":"`...), fields...), '"')
		}
	}
	return b
}

// intervalFields returns what the mask of an interval's modifier allows; "" if
// that is everything.
func intervalFields(mask int32) string {
	if mask == 0x7fff {
		return ""
	}
	first, last := "", ""
	for _, u := range []struct {
		bit  uint
		name string
	}{{2, "YEAR"}, {1, "MONTH"}, {3, "DAY"}, {10, "HOUR"}, {11, "MINUTE"}, {12, "SECOND"}} {
		if mask&(1<<u.bit) == 0 {
			continue
		}
		if first == "" {
			first = u.name
		}
		last = u.name
	}
	if first != last {
		return first + " TO " + last
	}
	return first
}
