package patch

import (
	"bytes"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// form is how row_to_json writes a value whose text form is known
// (json_categorize_type and datum_to_json in Postgres's utils/adt/json.c).
type form byte

const (
	formNone      form = iota // not known exactly
	formText                  // its text form as a string
	formBool                  // true or false
	formNumber                // its text form; NaN and the infinities are strings
	formRaw                   // its text form, which is JSON
	formTimestamp             // a string, with T between date and time
	formZoned                 // the same, with the offset in full
	formArray     form = 0x80 // of elements of the form in the other bits
)

// Renders reports whether the JSON of a result column of the type is known from
// its value in the log. base is the type below domains; enum says that it is an
// enum. Left out are the types whose text or JSON hangs on more than the value:
// money and xml (settings), reg* (names), composites, and types of extensions,
// which may have a cast to json. Arrays are known of bool, numbers, text, json,
// uuid, bytea, dates and times, and networks, of any dimensions; those of enums,
// domains and other types are left out.
func Renders(base catalog.OID, enum bool) bool { return formOf(base, enum) != formNone }

func formOf(base catalog.OID, enum bool) form {
	if enum {
		return formText
	}
	if f := scalarForm(base); f != formNone {
		return f
	}
	if elem := scalarForm(elementOf(base)); elem != formNone {
		return formArray | elem
	}
	return formNone
}

func scalarForm(base catalog.OID) form {
	switch base {
	case 16: // bool
		return formBool
	case 20, 21, 23, 700, 701, 1700: // int8, int2, int4, float4, float8, numeric
		return formNumber
	case 114, 3802: // json, jsonb
		return formRaw
	case 1114: // timestamp
		return formTimestamp
	case 1184: // timestamptz
		return formZoned
	case 25, 1043, 1042, 19, // text, varchar, bpchar, name
		26, 28, 29, 27, 5069, 3220, // oid, xid, cid, tid, xid8, pg_lsn
		17, 2950, 1560, 1562, // bytea, uuid, bit, varbit
		1082, 1083, 1266, 1186, // date, time, timetz, interval
		869, 650, 829, 774, // inet, cidr, macaddr, macaddr8
		600, 601, 602, 603, 604, 628, 718, // point, lseg, path, box, polygon, line, circle
		3614, 3615, 4072, // tsvector, tsquery, jsonpath
		3904, 3906, 3908, 3910, 3912, 3926, // int4range, numrange, tsrange, tstzrange, daterange, int8range
		4451, 4532, 4533, 4534, 4535, 4536: // their multiranges
		return formText
	}
	return formNone
}

// elementOf returns the element type of an array type whose elements are parted
// by commas, or 0.
func elementOf(array catalog.OID) catalog.OID {
	switch array {
	case 1000:
		return 16
	case 1005:
		return 21
	case 1007:
		return 23
	case 1016:
		return 20
	case 1021:
		return 700
	case 1022:
		return 701
	case 1231:
		return 1700
	case 199:
		return 114
	case 3807:
		return 3802
	case 1115:
		return 1114
	case 1185:
		return 1184
	case 1009:
		return 25
	case 1015:
		return 1043
	case 1014:
		return 1042
	case 1003:
		return 19
	case 1028:
		return 26
	case 1001:
		return 17
	case 2951:
		return 2950
	case 1182:
		return 1082
	case 1183:
		return 1083
	case 1270:
		return 1266
	case 1187:
		return 1186
	case 1041:
		return 869
	case 651:
		return 650
	case 1040:
		return 829
	}
	return 0
}

// appendValue appends the JSON of a value that is not null. It returns false
// where the text is not one that it knows.
func appendValue(dst []byte, f form, text []byte) ([]byte, bool) {
	switch f {
	case formText:
		return appendString(dst, text), true
	case formBool:
		switch string(text) {
		case "t":
			return append(dst, "true"...), true
		case "f":
			return append(dst, "false"...), true
		}
		return dst, false
	case formNumber:
		return appendNumber(dst, text)
	case formRaw:
		return append(dst, text...), len(text) > 0
	case formTimestamp, formZoned:
		return appendTimestamp(dst, f, text)
	}
	if f&formArray != 0 {
		return appendArray(dst, f&^formArray, text)
	}
	return dst, false
}

func appendNumber(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "NaN", "Infinity", "-Infinity":
		return appendString(dst, text), true
	}
	digits := bytes.TrimPrefix(text, []byte{'-'})
	if len(digits) == 0 || digits[0] < '0' || digits[0] > '9' {
		return dst, false
	}
	return append(dst, text...), true
}

// appendTimestamp turns 2000-01-02 03:04:05.6+00 BC into
// "2000-01-02T03:04:05.6+00:00 BC".
func appendTimestamp(dst []byte, f form, text []byte) ([]byte, bool) {
	switch string(text) {
	case "infinity", "-infinity":
		return appendString(dst, text), true
	}
	date, clock, ok := bytes.Cut(text, []byte{' '})
	if !ok {
		return dst, false
	}
	clock, bc := bytes.CutSuffix(clock, []byte(" BC"))
	if f == formZoned {
		if clock, ok = bytes.CutSuffix(clock, []byte("+00")); !ok {
			return dst, false
		}
	}
	for _, c := range date {
		if c != '-' && (c < '0' || c > '9') {
			return dst, false
		}
	}
	for _, c := range clock {
		if c != ':' && c != '.' && (c < '0' || c > '9') {
			return dst, false
		}
	}
	dst = append(append(append(append(dst, '"'), date...), 'T'), clock...)
	if f == formZoned {
		dst = append(dst, "+00:00"...)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return append(dst, '"'), true
}

// appendString appends a JSON string with the escapes of Postgres's escape_json.
func appendString(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(append(dst, text[done:i]...), '\\')
		done = i + 1
		switch c {
		case '\b':
			dst = append(dst, 'b')
		case '\f':
			dst = append(dst, 'f')
		case '\n':
			dst = append(dst, 'n')
		case '\r':
			dst = append(dst, 'r')
		case '\t':
			dst = append(dst, 't')
		case '"', '\\':
			dst = append(dst, c)
		default:
			dst = append(dst, 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, text[done:]...), '"')
}

// appendArray turns the text form of an array into JSON. Lower bounds, which
// come before the elements where they are not 1, have no place in it.
func appendArray(dst []byte, elem form, text []byte) ([]byte, bool) {
	if len(text) > 0 && text[0] == '[' {
		i := bytes.IndexByte(text, '=')
		if i < 0 {
			return dst, false
		}
		text = text[i+1:]
	}
	dst, rest, ok := appendDimension(dst, elem, text, 0)
	return dst, ok && len(rest) == 0
}

func appendDimension(dst []byte, elem form, text []byte, depth int) (_, rest []byte, ok bool) {
	const most = 6 // dimensions that Postgres allows
	if len(text) < 2 || text[0] != '{' || depth == most {
		return dst, nil, false
	}
	dst, text = append(dst, '['), text[1:]
	if text[0] == '}' {
		return append(dst, ']'), text[1:], true
	}
	for {
		if len(text) > 0 && text[0] == '{' {
			dst, text, ok = appendDimension(dst, elem, text, depth+1)
		} else {
			dst, text, ok = appendElement(dst, elem, text)
		}
		if !ok || len(text) == 0 {
			return dst, nil, false
		}
		end := text[0] == '}'
		if !end && text[0] != ',' {
			return dst, nil, false
		}
		text = text[1:]
		if end {
			return append(dst, ']'), text, true
		}
		dst = append(dst, ',')
	}
}

func appendElement(dst []byte, elem form, text []byte) (_, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		i := bytes.IndexAny(text, ",}")
		if i <= 0 {
			return dst, nil, false
		}
		if string(text[:i]) == "NULL" {
			return append(dst, "null"...), text[i:], true
		}
		dst, ok = appendValue(dst, elem, text[:i])
		return dst, text[i:], ok
	}
	var short [64]byte
	value := short[:0]
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			dst, ok = appendValue(dst, elem, value)
			return dst, text[i+1:], ok
		case '\\':
			i++
			if i == len(text) {
				return dst, nil, false
			}
		}
		value = append(value, text[i])
	}
	return dst, nil, false
}
