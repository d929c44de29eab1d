package live

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestOffsetText(t *testing.T) {
	for text, want := range map[string]Offset{
		"-1":                   Start,
		"now":                  Now,
		"0_0":                  {},
		"0_7":                  {Index: 7},
		"128_0":                {LSN: 128},
		"128_5":                {LSN: 128, Index: 5},
		"128_9007199254740991": {LSN: 128, Index: Whole},
		"18446744073709551615_18446744073709551612": {LSN: ^revision.LSN(0), Index: Now.Index - 2},
	} {
		got, err := ParseOffset(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s reads %+v, which is %s (%v)", text, got, got, err)
		}
	}
	if got, err := ParseOffset("0128_0"); err != nil || got != (Offset{LSN: 128, Index: Whole}) {
		t.Errorf("%+v (%v)", got, err)
	}
	for _, bad := range []string{"", "-2", "1", "1_", "_1", "1_-1", "a_b", "1_2_3", " 1_1", "+1_1", "1_18446744073709551615", "1_18446744073709551614", "18446744073709551616_0", "Now"} {
		if o, err := ParseOffset(bad); err == nil {
			t.Errorf("%q reads %+v", bad, o)
		}
	}
}

func FuzzOffset(f *testing.F) {
	f.Add("-1")
	f.Add("012_0")
	f.Add("12_34")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOffset(s)
		if err != nil {
			return
		}
		if again, err := ParseOffset(o.String()); err != nil || again != o {
			t.Fatalf("%q reads %+v, whose text reads %+v (%v)", s, o, again, err)
		}
	})
}

func TestOffsetOrder(t *testing.T) {
	order := []Offset{Start, {}, {Index: 1}, {LSN: 8}, {LSN: 8, Index: 1}, {LSN: 8, Index: 1 << 40}, {LSN: 8, Index: Whole}, {LSN: 9}, {LSN: 1 << 60, Index: 3}}
	for i, a := range order {
		for j, b := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := a.Compare(b); got != want {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
	if !slices.IsSortedFunc(order, Offset.Compare) {
		t.Error("not sorted")
	}
}

// What a client of an event stream sends next is after all that it was told.
func TestOffsetOfAStream(t *testing.T) {
	var m struct{ Headers map[string]string }
	if err := json.Unmarshal(AppendUpToDate(nil, 4096, "tok", true), &m); err != nil {
		t.Fatal(err)
	}
	o, err := ParseOffset(m.Headers["global_last_seen_lsn"] + "_0")
	if err != nil {
		t.Fatal(err)
	}
	if o.LSN != 4096 || o.Compare(Offset{LSN: 4096, Index: 1 << 50}) != 1 || o.Compare(Offset{LSN: 4097}) != -1 {
		t.Errorf("the next offset is %+v", o)
	}
}
