package query

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	dateLayout = "2006-01-02"
	timeLayout = "15:04:05.999999"
)

// badText refuses what no text type can hold.
func badText(s string) string {
	if !utf8.ValidString(s) {
		return "is not UTF-8"
	}
	if strings.IndexByte(s, 0) >= 0 {
		return "holds a zero byte, which text cannot"
	}
	return ""
}

func canonicalInt(s string, bits int) (string, string) {
	i, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		if e, ok := err.(*strconv.NumError); ok && e.Err == strconv.ErrRange {
			return "", fmt.Sprintf("is %s, which is out of the range of a %d-bit integer", clip(s), bits)
		}
		return "", fmt.Sprintf("is %q, not an integer", clip(s))
	}
	return strconv.FormatInt(i, 10), ""
}

func canonicalOID(s string) (string, string) {
	u, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return "", fmt.Sprintf("is %q, not an object id", clip(s))
	}
	return strconv.FormatUint(u, 10), ""
}

// canonicalBool reads Postgres's spellings: prefixes of the words, on, off, 1
// and 0 (parse_bool_with_len).
func canonicalBool(s string) (string, string) {
	l := strings.ToLower(strings.TrimSpace(s))
	switch {
	case l == "":
	case strings.HasPrefix("true", l), strings.HasPrefix("yes", l), l == "on", l == "1":
		return "t", ""
	case strings.HasPrefix("false", l), strings.HasPrefix("no", l), l == "of", l == "off", l == "0":
		return "f", ""
	}
	return "", fmt.Sprintf("is %q, not a boolean; write true or false", clip(s))
}

func canonicalUUID(s string) (string, string) {
	t := s
	if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
		t = t[1 : len(t)-1]
	}
	if len(t) == 36 && t[8] == '-' && t[13] == '-' && t[18] == '-' && t[23] == '-' {
		t = t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:]
	}
	if _, err := hex.DecodeString(t); err != nil || len(t) != 32 {
		return "", fmt.Sprintf("is %q, not a uuid", clip(s))
	}
	t = strings.ToLower(t)
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:], ""
}

var (
	decimalForm   = regexp.MustCompile(`^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?$`)
	dateForm      = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	timestampForm = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)(.*))?$`)
	timeForm      = regexp.MustCompile(`^([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)(.*)$`)
	zoneForm      = regexp.MustCompile(`^([+-])([0-9]{2})(?::?([0-9]{2}))?$`)
)

// maxNumericDigits bounds what an exponent may expand to.
const maxNumericDigits = 2000

// canonicalNumeric removes exponents and leading zeros. It keeps the scale,
// because 1.50 and 1.5 are shown differently.
func canonicalNumeric(s string) (string, string) {
	switch strings.ToLower(s) {
	case "nan":
		return "NaN", ""
	case "infinity", "inf", "+infinity", "+inf":
		return "Infinity", ""
	case "-infinity", "-inf":
		return "-Infinity", ""
	}
	m := decimalForm.FindStringSubmatch(s)
	if m == nil || m[2] == "" && m[3] == "" {
		return "", fmt.Sprintf("is %q, not a number", clip(s))
	}
	whole, frac := m[2], m[3]
	exp, _ := strconv.Atoi(m[4])
	if exp > maxNumericDigits || exp < -maxNumericDigits || len(whole)+len(frac) > maxNumericDigits {
		return "", "has too many digits"
	}
	if exp > 0 {
		frac += strings.Repeat("0", max(0, exp-len(frac)))
		whole, frac = whole+frac[:exp], frac[exp:]
	} else if exp < 0 {
		whole = strings.Repeat("0", max(0, -exp-len(whole))) + whole
		whole, frac = whole[:len(whole)+exp], whole[len(whole)+exp:]+frac
	}
	out := strings.TrimLeft(whole, "0")
	if out == "" {
		out = "0"
	}
	if frac != "" {
		out += "." + frac
	}
	if m[1] == "-" && strings.Trim(out, "0.") != "" {
		out = "-" + out
	}
	return out, ""
}

func canonicalFloat(s string, bits int) (string, string) {
	switch strings.ToLower(s) {
	case "nan":
		return "NaN", ""
	case "infinity", "inf", "+infinity", "+inf":
		return "Infinity", ""
	case "-infinity", "-inf":
		return "-Infinity", ""
	}
	m := decimalForm.FindStringSubmatch(s)
	if m == nil || m[2] == "" && m[3] == "" {
		return "", fmt.Sprintf("is %q, not a number", clip(s))
	}
	f, err := strconv.ParseFloat(s, bits)
	if err != nil || f == 0 && strings.Trim(m[2]+m[3], "0") != "" || math.IsInf(f, 0) {
		return "", fmt.Sprintf("is %s, which is out of the range of a %d-bit float", clip(s), bits)
	}
	return formatFloat(f, bits), ""
}

func formatFloat(f float64, bits int) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}

func infinite(s string) (string, bool) {
	switch strings.ToLower(s) {
	case "infinity", "+infinity":
		return "infinity", true
	case "-infinity":
		return "-infinity", true
	}
	return "", false
}

func canonicalDate(s string) (string, string) {
	if v, ok := infinite(s); ok {
		return v, ""
	}
	t, err := time.Parse(dateLayout, s)
	if !dateForm.MatchString(s) || err != nil || t.Year() == 0 {
		return "", fmt.Sprintf("is %q, not a date such as 2026-01-31", clip(s))
	}
	return s, ""
}

// canonicalTimestamp reads ISO 8601 and nothing else: words such as now would
// make an answer that only time can change. With a zone, the result is in UTC,
// and a value without one is taken as UTC. Without, a zone is refused, because
// Postgres would drop it silently.
func canonicalTimestamp(s string, zoned bool) (string, string) {
	if v, ok := infinite(s); ok {
		return v, ""
	}
	bad := func() (string, string) {
		return "", fmt.Sprintf("is %q, not a timestamp such as 2026-01-31T12:00:00Z", clip(s))
	}
	m := timestampForm.FindStringSubmatch(s)
	if m == nil {
		return bad()
	}
	day, err := time.Parse(dateLayout, m[1])
	if err != nil || day.Year() == 0 {
		return bad()
	}
	clock, offset := time.Duration(0), time.Duration(0)
	if m[2] != "" {
		var reason string
		if clock, reason = clockTime(m[2]); reason != "" {
			return "", reason
		}
		zone, given, reason := zoneOffset(m[3])
		if reason != "" {
			return "", reason
		}
		if given && !zoned {
			return "", fmt.Sprintf("is %q, and a timestamp without time zone takes no zone", clip(s))
		}
		offset = zone
	}
	t := day.Add(clock - offset)
	if !fourDigitYear(t) {
		return bad()
	}
	out := t.Format("2006-01-02T" + timeLayout)
	if zoned {
		out += "Z"
	}
	return out, ""
}

// clockTime reads 12:00, 12:00:00 or 12:00:00.123456.
func clockTime(s string) (time.Duration, string) {
	bad := fmt.Sprintf("has the time of day %q, which is not between 00:00:00 and 23:59:59.999999", clip(s))
	var h, m, sec, frac int
	part := func(at int) int { n, _ := strconv.Atoi(s[at : at+2]); return n }
	h, m = part(0), part(3)
	if len(s) > 5 {
		sec = part(6)
	}
	if len(s) > 8 {
		digits := strings.TrimRight(s[9:], "0")
		if len(digits) > 6 {
			return 0, "has more than microseconds"
		}
		frac, _ = strconv.Atoi(digits + strings.Repeat("0", 6-len(digits)))
	}
	if h > 23 || m > 59 || sec > 59 {
		return 0, bad
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second +
		time.Duration(frac)*time.Microsecond, ""
}

func zoneOffset(s string) (offset time.Duration, given bool, reason string) {
	switch s {
	case "":
		return 0, false, ""
	case "Z", "z":
		return 0, true, ""
	}
	m := zoneForm.FindStringSubmatch(s)
	if m == nil {
		hint := ""
		if strings.HasPrefix(s, " ") {
			hint = "; in a query string a + is written %2B"
		}
		return 0, false, fmt.Sprintf("has the zone %q, which is not Z or an offset such as +02:00%s", clip(s), hint)
	}
	h, _ := strconv.Atoi(m[2])
	minute, _ := strconv.Atoi(m[3])
	if h > 15 || minute > 59 {
		return 0, false, fmt.Sprintf("has the zone %q, which is out of range", s)
	}
	offset = time.Duration(h)*time.Hour + time.Duration(minute)*time.Minute
	if m[1] == "-" {
		offset = -offset
	}
	return offset, true, ""
}

// canonicalTime reads a time of day. A zone is kept as it is: two times with
// different zones are different values.
func canonicalTime(s string, zoned bool) (string, string) {
	m := timeForm.FindStringSubmatch(s)
	if m == nil {
		return "", fmt.Sprintf("is %q, not a time such as 12:00:00", clip(s))
	}
	clock, reason := clockTime(m[1])
	if reason != "" {
		return "", reason
	}
	offset, given, reason := zoneOffset(m[2])
	if reason != "" {
		return "", reason
	}
	out := time.Time{}.Add(clock).Format(timeLayout)
	if !zoned {
		if given {
			return "", fmt.Sprintf("is %q, and a time without time zone takes no zone", clip(s))
		}
		return out, ""
	}
	sign := '+'
	if offset < 0 {
		sign, offset = '-', -offset
	}
	return fmt.Sprintf("%s%c%02d:%02d", out, sign, offset/time.Hour, offset%time.Hour/time.Minute), ""
}

func canonicalJSON(s string) (string, string) {
	if !json.Valid([]byte(s)) {
		return "", "is not valid JSON"
	}
	return s, ""
}
