package duration

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "-1d": -24 * time.Hour, "0s": 0, "0": 0,
		"1h30m": 90 * time.Minute, "5ms": 5 * time.Millisecond, "2w": 336 * time.Hour, "1w3d12h": 252 * time.Hour,
		"+1w": 168 * time.Hour, "0d": 0, "1d0.5h": 24*time.Hour + 30*time.Minute, "100000d": 100_000 * 24 * time.Hour,
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
		if back, err := Parse(Format(want)); err != nil || back != want {
			t.Errorf("Format(%v) = %s", want, Format(want))
		}
	}
	for _, text := range []string{
		"", "5", "1.5d", "d", "w", "1d-2h", "1d+2h", "1d2w", "1d1d", "1 d", "7D", "7 days", "1h1d", "1d5",
		"999999999999d", "99999999999999999999d", "100001d", "14286w", "14285w6d", "100000d2562047h", "99999999999h",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Minute: "1m", 10 * time.Second: "10s", 0: "0s",
	} {
		if got := Format(d); got != want {
			t.Errorf("Format = %s, want %s", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1w3d12h", "-7d", "1.5h", "d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err != nil {
			return
		}
		if back, err := Parse(Format(d)); err != nil || back != d {
			t.Errorf("Parse(%q) = %v, and Format of it is read as %v, %v", s, d, back, err)
		}
		if plain, err := time.ParseDuration(s); err == nil && plain != d {
			t.Errorf("Parse(%q) = %v, which Go reads as %v", s, d, plain)
		}
	})
}
