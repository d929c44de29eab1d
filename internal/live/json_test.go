package live

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// texts are strings that are hard to write as JSON.
var texts = []string{
	"", "plain", `quote " and \ backslash`, "line\nfeed\r\n\ttab", "\x00\x01\x1f\x7f", "a/b", "é ü 漢字 😀 \U0010ffff", "\u2028\u2029\ufeff",
	"\xff", "cut \xe6\xbc", "\xed\xa0\x80", `\u0041`, "</script>", "null", "a" + strings.Repeat("\n", 100), "\ufffd",
}

func FuzzQuoted(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := "" // each byte that is not UTF-8 becomes one U+FFFD, as ranging does
		for _, r := range s {
			want += string(r)
		}
		for _, got := range [][]byte{appendQuoted(nil, s), appendQuoted(nil, []byte(s)), appendASCII(nil, s)} {
			var back string
			if err := json.Unmarshal(got, &back); err != nil || back != want {
				t.Fatalf("%q is %s, which reads %q (%v)", s, got, back, err)
			}
			for _, c := range string(got) {
				if c < ' ' || c == '\u2028' || c == '\u2029' {
					t.Fatalf("%q is %q", s, got)
				}
			}
			if !utf8.Valid(got) {
				t.Fatalf("%q is %q, which is not UTF-8", s, got)
			}
		}
		for _, c := range appendASCII(nil, s) {
			if c < ' ' || c >= 0x7f {
				t.Fatalf("%q as ASCII is %q", s, appendASCII(nil, s))
			}
		}
	})
}

func TestDecoded(t *testing.T) {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			continue
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range [][]byte{raw, appendQuoted(nil, s), appendASCII(nil, s)} {
			got, err := appendDecoded([]byte("x"), raw)
			if err != nil || string(got) != "x"+s {
				t.Errorf("%s reads %q (%v), not %q", raw, got, err, s)
			}
		}
	}
	for _, bad := range []string{``, `"`, `a`, `"a`, `a"`, `"a"b"`, `"\"`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\udc00"`, `"\ud800\u0041"`, `"\ud800\ud800"`} {
		if got, err := appendDecoded(nil, []byte(bad)); err == nil {
			t.Errorf("%s reads %q", bad, got)
		}
	}
}

func FuzzDecoded(f *testing.F) {
	for _, s := range texts {
		f.Add(string(appendASCII(nil, s)))
	}
	f.Add(`"\ud83d\ude00 \b\f\/"`)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := appendDecoded(nil, []byte(raw))
		if err != nil {
			return
		}
		if !utf8.ValidString(raw) {
			return
		}
		var want string
		// Control characters are refused where the value is found, not here.
		plain := strings.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, raw)
		if plain != raw {
			return
		}
		if err := json.Unmarshal([]byte(raw), &want); err != nil || string(got) != want {
			t.Fatalf("%s reads %q, not %q (%v)", raw, got, want, err)
		}
	})
}
