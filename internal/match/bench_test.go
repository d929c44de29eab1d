package match

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// benchDeps returns the dependency of the i-th answer of an endpoint.
var benchDeps = map[string]func(r *Reads, i int) Dependency{
	"equal": func(r *Reads, i int) Dependency {
		return Dependency{Reads: r, Tests: []Test{intTest("a", Equal, strconv.Itoa(i))}}
	},
	"page": func(r *Reads, i int) Dependency {
		return Dependency{Reads: r, Exact: true, Tests: []Test{intTest("a", Equal, strconv.Itoa(i)), {Column: "b", Type: 25, Class: ClassText, Op: NotNull}}, Edge: &Edge{
			Order: []OrderColumn{{"n", 20, ClassInt, true, true}, {"id", 23, ClassInt, false, false}},
			Last:  []Place{{Value: datum(ClassInt, "5")}, {Value: datum(ClassInt, "9")}},
		}}
	},
	"range": func(r *Reads, i int) Dependency {
		lo := Bound{Set: true, Inclusive: true, Value: datum(ClassInt, strconv.Itoa(2*i))}
		hi := Bound{Set: true, Value: datum(ClassInt, strconv.Itoa(2*i+1))}
		return Dependency{Reads: r, Tests: []Test{{Column: "a", Type: 20, Class: ClassInt, Op: Range, Lo: lo, Hi: hi}}}
	},
}

// BenchmarkTouch measures a change that touches nothing, and one that touches
// one answer, with few answers and with many, and what an answer takes.
func BenchmarkTouch(b *testing.B) {
	for _, kind := range []string{"equal", "page", "range"} {
		for _, n := range []int{1_000, 1_000_000} {
			var before, after runtime.MemStats
			ix := NewIndex[int]()
			reads := &Reads{Tables: []catalog.OID{7}, Name: "t", Columns: []string{"id", "a", "b", "n"}}
			runtime.GC()
			runtime.ReadMemStats(&before)
			var size int64
			for i := range n {
				size += ix.with(i, []Dependency{benchDeps[kind](reads, i)}).Size()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			touched := map[string]*change.Change{
				"none": smallChange('U', "1 -7 x 9", "1 -7 y 9"),
				"one":  smallChange('U', "1 500 x 9", "1 500 y 9"),
			}
			for _, what := range []string{"none", "one"} {
				b.Run(fmt.Sprintf("%s/%d/%s", kind, n, what), func(b *testing.B) {
					found := 0
					visit := func(int, *Reads) { found++ }
					b.ReportAllocs()
					for b.Loop() {
						ix.Touch(touched[what], visit)
					}
					if found > 0 != (what == "one") {
						b.Fatalf("%d found", found)
					}
					b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/answer")
					b.ReportMetric(float64(size)/float64(n), "B-counted/answer")
				})
			}
			runtime.KeepAlive(ix)
		}
	}
}

// TestTouchAllocates holds the common path to no allocation: a probe by equality
// that finds nothing, whatever the type of the column.
func TestTouchAllocates(t *testing.T) {
	for _, tt := range []struct {
		class    Class
		in, want string
	}{
		{ClassInt, "1", "2"},
		{ClassText, "a long text that does not fit a small buffer", "another"},
		{ClassNumeric, "123456789012345678901234567890.1234567890", "5.5"},
		{ClassUUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"},
		{ClassTime, "2026-01-01 10:00:00.123456+00", "2026-01-01 10:00:00.123457+00"},
		{ClassDate, "2026-01-01", "2026-01-02"},
		{ClassFloat, "0.123456789012345", "1"},
		{ClassBool, "t", "f"},
	} {
		rel := &catalog.Relation{OID: 7, Columns: []catalog.Column{{Name: "v", Type: 1}, {Name: "w", Type: 25}}}
		ix := NewIndex[int]()
		ix.with(1, []Dependency{{
			Reads: &Reads{Tables: []catalog.OID{7}, Tested: []string{"v"}},
			Tests: []Test{{Column: "v", Type: 1, Class: tt.class, Values: []Datum{datum(tt.class, tt.want)}}},
		}})
		c := &change.Change{
			Op: change.Update, Relation: rel,
			Old: change.Row{textValue(tt.in), textValue("x")}, New: change.Row{textValue(tt.in), textValue("y")},
		}
		visit := func(int, *Reads) { t.Errorf("class %d: found", tt.class) }
		if n := testing.AllocsPerRun(100, func() { ix.Touch(c, visit) }); n != 0 {
			t.Errorf("class %d: %v allocations", tt.class, n)
		}
	}
}
