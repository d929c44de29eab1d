package match

import "testing"

func TestParseDatumEquality(t *testing.T) {
	for _, tt := range []struct {
		class Class
		a, b  string
		cmp   int // of a with b; 2: unequal, without an order
	}{
		{ClassInt, "007", "7", 0},
		{ClassInt, "-9223372036854775808", "9223372036854775807", -1},
		{ClassNumeric, "1.50", "1.5", 0},
		{ClassNumeric, "0.00", "-0", 0},
		{ClassNumeric, "10", "9.99", 1},
		{ClassNumeric, "-10", "-9.5", -1},
		{ClassNumeric, "0.5", "0.05", 1},
		{ClassNumeric, "NaN", "Infinity", 1},
		{ClassNumeric, "-Infinity", "-1000000000000000000000000", -1},
		{ClassNumeric, "0.5", "1", -1},
		{ClassNumeric, "12.5", "12.45", 1},
		{ClassFloat, "-0", "0", 0},
		{ClassFloat, "NaN", "1e300", 1},
		{ClassFloat, "-1.5", "-1.25", -1},
		{ClassFloat, "Infinity", "NaN", -1},
		{ClassBPChar, "ab  ", "ab", 0},
		{ClassText, "ab ", "ab", 2},
		{ClassUUID, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 0},
		{ClassDate, "2026-02-28", "2026-03-01", -1},
		{ClassDate, "infinity", "2026-03-01", 1},
		{ClassDate, "1969-12-31", "1970-01-01", -1},
		{ClassTime, "2026-01-01 10:00:00.5+00", "2026-01-01 10:00:00.500+00", 0},
		{ClassTime, "-infinity", "2026-01-01 10:00:00+00", -1},
		{ClassBool, "t", "true", 0},
		{ClassBool, "f", "t", -1},
	} {
		a, ok1 := ParseDatum(tt.class, []byte(tt.a))
		b, ok2 := ParseDatum(tt.class, []byte(tt.b))
		if !ok1 || !ok2 {
			t.Errorf("%v: %q or %q was not understood", tt.class, tt.a, tt.b)
			continue
		}
		if (a == b) != (tt.cmp == 0) {
			t.Errorf("%v: %q equals %q: %v", tt.class, tt.a, tt.b, a == b)
		}
		if tt.cmp != 2 && a.Compare(b) != tt.cmp || tt.cmp != 2 && b.Compare(a) != -tt.cmp {
			t.Errorf("%v: %q against %q: %d, want %d", tt.class, tt.a, tt.b, a.Compare(b), tt.cmp)
		}
		h, ok := hashText(hashSeed, tt.class, []byte(tt.a))
		if !ok || h != a.hash(hashSeed) {
			t.Errorf("%v: %q from the log hashes differently", tt.class, tt.a)
		}
	}
	// What is not known exactly is unknown, not different.
	for class, bad := range map[Class][]string{
		ClassInt:     {"", "x", "9223372036854775808", "-"},
		ClassNumeric: {"", ".", "1e5", "1.2.3", "abc"},
		ClassUUID:    {"a0eebc99", "a0eebc99x9c0b-4ef8-bb6d-6bb9bd380a11"},
		ClassDate:    {"0044-03-15 BC", "12026-01-01", "2026-13-01"},
		ClassTime:    {"2026-01-01 10:00:00+02", "0044-03-15 00:00:00 BC"},
		ClassBool:    {"yes", ""},
		ClassNone:    {"x"},
	} {
		for _, s := range bad {
			if _, ok := ParseDatum(class, []byte(s)); ok {
				t.Errorf("%v: %q was understood", class, s)
			}
		}
	}
}
