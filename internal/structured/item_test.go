package structured

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseItem(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Item
	}{
		{"fully_consistent", Item{Value: Token("fully_consistent")}},
		{` at_least_as_fresh; token="a\"b\\" `, Item{Token("at_least_as_fresh"), []Param{{"token", `a"b\`}}}},
		{"a;b;c=?0;b=1", Item{Token("a"), []Param{{"b", int64(1)}, {"c", false}}}},
		{"-12", Item{Value: int64(-12)}},
		{"1.25", Item{Value: 1.25}},
		{":aGk=:", Item{Value: []byte("hi")}},
		{":aGk:", Item{Value: []byte("hi")}},
		{"@1700000000", Item{Value: Date(1700000000)}},
		{`%"f%c3%bc"`, Item{Value: "fü"}},
		{"*a/b:c", Item{Value: Token("*a/b:c")}},
	} {
		got, err := ParseItem(tt.in)
		if err != nil {
			t.Errorf("ParseItem(%q): %v", tt.in, err)
		} else if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("ParseItem(%q): %s", tt.in, d)
		}
	}
	for _, in := range []string{
		"", " ", "a b", "a,b", `"x`, `"\n"`, "a;B", "a;b=", "1.", "1.2345", "1234567890123456",
		"?2", ":a", ":!!:", "@1.5", `%"%C3"`, `%"%ff"`, "a;", "\t", "a\x00", `"é"`,
	} {
		if got, err := ParseItem(in); err == nil {
			t.Errorf("ParseItem(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzParseItem(f *testing.F) {
	for _, s := range []string{`at_exact_snapshot; token="tm1x"`, "1.5;a", `%"%c3%bc"`, ":aGk=:", "@12;x=?1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		it, err := ParseItem(s)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, p := range it.Params {
			if seen[p.Key] || p.Key == "" {
				t.Fatalf("parameter %q is empty or repeated", p.Key)
			}
			seen[p.Key] = true
		}
	})
}
