package live

import "bytes"

// appendInterval appends an interval in the style iso_8601, given in the style
// postgres, as Postgres would write it. What is iso_8601 or infinite already
// stays as it is.
func appendInterval(b, text []byte) []byte {
	start := len(b)
	if len(text) == 0 || text[0] == 'P' {
		return append(b, text...)
	}
	b = append(b, 'P')
	for rest := text; len(rest) > 0; {
		var word, unit []byte
		word, rest, _ = bytes.Cut(rest, []byte{' '})
		if bytes.IndexByte(word, ':') >= 0 {
			var ok bool
			if b, ok = appendClock(b, word); !ok || len(rest) > 0 {
				return append(b[:start], text...)
			}
			break
		}
		unit, rest, _ = bytes.Cut(rest, []byte{' '})
		designator, ok := dateUnits[string(unit)]
		word = bytes.TrimPrefix(word, []byte{'+'})
		if !ok || numberLength(word) != len(word) || len(word) == 0 {
			return append(b[:start], text...)
		}
		b = append(append(b, word...), designator)
	}
	if len(b) == start+1 {
		b = append(b, 'T', '0', 'S')
	}
	return b
}

var dateUnits = map[string]byte{"year": 'Y', "years": 'Y', "mon": 'M', "mons": 'M', "day": 'D', "days": 'D'}

// appendClock appends a time of the form [+-]HH:MM:SS[.fraction] as the T part,
// its sign on each number, and nothing if it is zero.
func appendClock(b, text []byte) (_ []byte, ok bool) {
	minus := text[0] == '-'
	if minus || text[0] == '+' {
		text = text[1:]
	}
	hours, rest, _ := bytes.Cut(text, []byte{':'})
	minutes, seconds, _ := bytes.Cut(rest, []byte{':'})
	designated := false
	for i, n := range [...][]byte{hours, minutes, seconds} {
		for len(n) > 1 && n[0] == '0' && n[1] != '.' {
			n = n[1:]
		}
		if numberLength(n) != len(n) || len(n) == 0 || n[0] == '-' {
			return b, false
		}
		if len(n) == 1 && n[0] == '0' {
			continue
		}
		if !designated {
			b, designated = append(b, 'T'), true
		}
		if minus {
			b = append(b, '-')
		}
		b = append(append(b, n...), "HMS"[i])
	}
	return b, true
}
