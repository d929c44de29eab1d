package live

import (
	"strings"
	"testing"
)

func TestInterval(t *testing.T) {
	for text, want := range map[string]string{
		"00:00:00":        "PT0S",
		"1 year":          "P1Y",
		"-1 years":        "P-1Y",
		"1 mon -1 days":   "P1M-1D",
		"-1 mons +1 day":  "P-1M1D",
		"00:00:00.000001": "PT0.000001S",
		"-00:00:00.5":     "PT-0.5S",
		"10:00:00":        "PT10H",
		"00:10:00.1":      "PT10M0.1S",
		"100000:00:05":    "PT100000H5S",
		"-178000000 years -11 mons +3 days -02:03:04.56": "P-178000000Y-11M3DT-2H-3M-4.56S",
		"infinity":  "infinity",
		"-infinity": "-infinity",
		"P1Y2M3D":   "P1Y2M3D",
		"PT-0.5S":   "PT-0.5S",
		"":          "",
		// What is no interval stays.
		"1":              "1",
		" day":           " day",
		"1 fortnight":    "1 fortnight",
		"x day":          "x day",
		"00:00:00 1 day": "00:00:00 1 day",
		":":              ":",
		"1:2":            "1:2",
		"--1:2:3":        "--1:2:3",
	} {
		if got := string(appendInterval([]byte("x"), []byte(text))); got != "x"+want {
			t.Errorf("%s is %s, not %s", text, got[1:], want)
		}
	}
}

// types for the fuzzers, of all forms that hold intervals.
func intervalTypes() []*Type {
	span := &Type{OID: intervalOID, Kind: 'b', delim: ',', interval: true}
	text := &Type{OID: 25, Kind: 'b', delim: ','}
	array := &Type{Kind: 'b', Elem: span, delim: ',', interval: true}
	composite := &Type{Kind: 'c', members: []*Type{text, span, array}, delim: ',', interval: true}
	between := &Type{Kind: 'r', members: []*Type{span}, delim: ',', interval: true}
	return []*Type{
		span, array, composite, between,
		{Kind: 'm', members: []*Type{between}, delim: ',', interval: true},
		{Kind: 'b', Elem: composite, delim: ',', interval: true},
		{Kind: 'b', Elem: array, delim: ';', interval: true},
		{Kind: 'c', members: []*Type{composite, between}, delim: ',', interval: true},
	}
}

// Whatever the text is, a value is written, and writing it twice changes nothing
// more.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"1 year 02:03:04.5", `{"1 day",NULL,{x}}`, `(a,"1 day -01:00:00","{""1 day"",01:00:00}")`, `["1 day","2 days")`, "{empty,[01:00:00,]}",
		`{"(a,\"1 day\",)"}`, `[2:3]={"1 day","2 days"}`, `("(x,""1 day"",)",empty)`, "{", "(", "[", `{"`, `{"\`, `(")`, `{1,}`, `{}`, "()",
	} {
		f.Add(s)
	}
	types := intervalTypes()
	f.Fuzz(func(t *testing.T, s string) {
		for i, typ := range types {
			once := typ.AppendText([]byte("x"), []byte(s))
			if !strings.HasPrefix(string(once), "x") {
				t.Fatalf("type %d: %q lost what was before it", i, s)
			}
			if twice := typ.AppendText([]byte("x"), once[1:]); string(twice) != string(once) {
				t.Fatalf("type %d: %q is %q, and that is %q", i, s, once, twice)
			}
		}
	})
}
