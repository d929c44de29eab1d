package caveat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A term of the model is an expression with its meaning, which is worked out
// without CEL: yes, no, an error, or the set of parameters that are missing.
type term struct {
	text string
	eval func(env map[string]int) meaning
}

type meaning struct {
	truth   int // 0 no, 1 yes, 2 error, 3 missing
	missing map[string]bool
}

const (
	modelNo = iota
	modelYes
	modelError
	modelMissing
)

func known(b bool) meaning {
	if b {
		return meaning{truth: modelYes}
	}
	return meaning{truth: modelNo}
}

// lack is the meaning of what needs all of some parameters, when some are missing.
func lack(env map[string]int, names ...string) (meaning, bool) {
	m := meaning{truth: modelMissing, missing: map[string]bool{}}
	for _, n := range names {
		if _, ok := env[n]; !ok {
			m.missing[n] = true
		}
	}
	return m, len(m.missing) > 0
}

// either is a disjunction (decides = yes) or a conjunction (decides = no).
func either(decides int, all ...meaning) meaning {
	out := meaning{truth: 1 - decides, missing: map[string]bool{}}
	for _, m := range all {
		if m.truth == decides {
			return meaning{truth: decides}
		}
		if m.truth == modelError && out.truth != modelMissing {
			out.truth = modelError
		}
		if m.truth == modelMissing {
			out.truth = modelMissing
			maps.Copy(out.missing, m.missing)
		}
	}
	return out
}

var names = []string{"aa", "bb", "cc"}

func genTerm(t *rapid.T, depth int) term {
	kind := rapid.IntRange(0, 9).Draw(t, "kind")
	if depth == 0 {
		kind %= 5
	}
	name := func() string { return rapid.SampledFrom(names).Draw(t, "name") }
	k := rapid.IntRange(0, 3).Draw(t, "k")
	sub := func() term { return genTerm(t, depth-1) }
	switch kind {
	case 0:
		n := name()
		return term{fmt.Sprintf("%s == %d", n, k), func(env map[string]int) meaning {
			if m, ok := lack(env, n); ok {
				return m
			}
			return known(env[n] == k)
		}}
	case 1:
		n, o := name(), name()
		return term{fmt.Sprintf("%s < %s + %d", n, o, k), func(env map[string]int) meaning {
			if m, ok := lack(env, n, o); ok {
				return m
			}
			return known(env[n] < env[o]+k)
		}}
	case 2:
		n := name()
		return term{fmt.Sprintf("%s in [1, %d]", n, k), func(env map[string]int) meaning {
			if m, ok := lack(env, n); ok {
				return m
			}
			return known(env[n] == 1 || env[n] == k)
		}}
	case 3: // fails where the parameter is 0
		n := name()
		return term{fmt.Sprintf("6 / %s >= %d", n, k), func(env map[string]int) meaning {
			if m, ok := lack(env, n); ok {
				return m
			}
			if env[n] == 0 {
				return meaning{truth: modelError}
			}
			return known(6/env[n] >= k)
		}}
	case 4: // fails unless the key is there
		n := name()
		return term{fmt.Sprintf("{0: 1, 2: 3}[%s] > %d", n, k), func(env map[string]int) meaning {
			if m, ok := lack(env, n); ok {
				return m
			}
			v, ok := map[int]int{0: 1, 2: 3}[env[n]]
			if !ok {
				return meaning{truth: modelError}
			}
			return known(v > k)
		}}
	case 5:
		a := sub()
		return term{"!(" + a.text + ")", func(env map[string]int) meaning {
			m := a.eval(env)
			if m.truth <= modelYes {
				m.truth = 1 - m.truth
			}
			return m
		}}
	case 6, 7:
		a, b := sub(), sub()
		op, decides := "&&", modelNo
		if kind == 7 {
			op, decides = "||", modelYes
		}
		return term{"(" + a.text + ") " + op + " (" + b.text + ")", func(env map[string]int) meaning {
			return either(decides, a.eval(env), b.eval(env))
		}}
	case 8:
		a, b, c := sub(), sub(), sub()
		return term{"(" + a.text + ") ? (" + b.text + ") : (" + c.text + ")", func(env map[string]int) meaning {
			switch m := a.eval(env); m.truth {
			case modelYes:
				return b.eval(env)
			case modelNo:
				return c.eval(env)
			default:
				return m
			}
		}}
	}
	a := sub() // a parameter hidden by the macro's variable
	n := name()
	macro, decides := "all", modelNo
	if k%2 == 0 {
		macro, decides = "exists", modelYes
	}
	return term{fmt.Sprintf("[1, %d].%s(%s, %s)", k, macro, n, a.text), func(env map[string]int) meaning {
		inner := func(v int) meaning {
			e := maps.Clone(env)
			e[n] = v
			return a.eval(e)
		}
		return either(decides, inner(1), inner(k))
	}}
}

// Every outcome, every list of missing fields and every error is what the model
// says, for all subsets of the values.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := genTerm(t, rapid.IntRange(0, 4).Draw(t, "depth"))
		all := Parameter{Name: "any_of", Type: "list<int>"} // uses every parameter without a say
		parameters := []Parameter{all}
		for _, n := range names {
			parameters = append(parameters, Parameter{Name: n, Type: "int"})
		}
		p, err := Compile("model", parameters, "(any_of == [] || any_of == [1] && ["+strings.Join(names, ", ")+"] == []) && ("+e.text+")")
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]int{}
		stored, request := map[string]any{"any_of": []any{}}, map[string]any{}
		for _, n := range names {
			v := rapid.IntRange(0, 3).Draw(t, n)
			switch rapid.IntRange(0, 3).Draw(t, "where "+n) {
			case 0:
				env[n], stored[n], request[n] = v, float64(v), float64(v+1)
			case 1, 2:
				env[n], request[n] = v, float64(v)
			}
		}
		want := e.eval(env)
		got, err := p.Eval(stored, request)
		switch {
		case want.truth == modelError:
			if err == nil {
				t.Fatalf("%s with %v is %v, not an error", e.text, env, got)
			}
		case err != nil:
			t.Fatalf("%s with %v: %v", e.text, env, err)
		case int(got.Outcome) != min(want.truth, int(Missing)):
			t.Fatalf("%s with %v is %v, not %v", e.text, env, got, want)
		case got.Outcome == Missing:
			if fields := slices.Sorted(maps.Keys(want.missing)); !slices.Equal(fields, got.Fields) {
				t.Fatalf("%s with %v lacks %v, not %v", e.text, env, fields, got.Fields)
			}
		}
	})
}
