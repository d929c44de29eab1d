package patch

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// A state has the bound plan that it was made from, whether it shares a stencil
// with others or there are too many kinds of them.
func TestStencils(t *testing.T) {
	p := &Plan{}
	var want []*Bound
	var states []*State
	for i := range 4 * maxStencils {
		b := &Bound{Plan: p, Offset: i, Limit: i%3 - 1, Slack: 2 * i, Tests: []match.Test{}}
		for j := range i % (2 * maxStencils) {
			test := match.Test{Column: "c" + strconv.Itoa(j), Type: 25, Class: match.ClassText, Op: match.Op(j % 6)}
			for k := range j % 4 {
				d, _ := match.ParseDatum(match.ClassText, []byte(strconv.Itoa(i*k)))
				test.Values = append(test.Values, d)
			}
			if test.Op == match.Range {
				d, _ := match.ParseDatum(match.ClassText, []byte(strconv.Itoa(i)))
				test.Hi = match.Bound{Set: true, Inclusive: j%4 == 0, Value: d}
			}
			b.Tests = append(b.Tests, test)
		}
		want = append(want, b)
		states = append(states, &State{stencil: stencilOf(b), side: append(appendHead(nil, b), "rest"...)})
	}
	n := 0
	for s := p.stencils.Load(); s != nil; s = s.next {
		n++
	}
	if n != maxStencils {
		t.Errorf("a plan keeps %d stencils", n)
	}
	if states[1].stencil != states[1+2*maxStencils].stencil {
		t.Error("two states of one kind have two stencils")
	}
	o := opened{Bound: Bound{Tests: []match.Test{}}}
	for i, s := range states {
		if rest := o.open(s); string(rest) != "rest" || string(o.head)+"rest" != string(s.side) {
			t.Fatalf("%q is left", rest)
		}
		for j := range o.Tests {
			if len(o.Tests[j].Values) == 0 {
				o.Tests[j].Values = nil
			}
		}
		if !reflect.DeepEqual(&o.Bound, want[i]) {
			t.Fatalf("got %+v, want %+v", o.Bound, want[i])
		}
		o = o.cleared()
	}
}
