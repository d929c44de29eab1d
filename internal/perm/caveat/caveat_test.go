package caveat

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// declare reads parameters such as "a int, b list<string>".
func declare(text string) []Parameter {
	var ps []Parameter
	for d := range strings.SplitSeq(text, ", ") {
		name, typ, _ := strings.Cut(d, " ")
		ps = append(ps, Parameter{Name: name, Type: typ})
	}
	return ps
}

func object(t *testing.T, text string, exact bool) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	if exact {
		d.UseNumber()
	}
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

func TestEval(t *testing.T) {
	for _, c := range []struct {
		parameters, expression, stored, request string
		want                                    string // true, false, or the fields that are missing
	}{
		{"a int", "a == 42", `{}`, `{"a":42}`, "true"},
		{"a int", "a == 42", `{"a":42}`, `{"a":41}`, "true"},
		{"a int", "a == 42", `{"a":41}`, `{"a":42,"b":1}`, "false"},
		{"a int", "a == 42", `{}`, `{}`, "a"},
		{"a int", "a == 42", `{}`, `{"a":"42"}`, "true"},
		{"a int", "a == 42", `{}`, `{"a":4.2e1}`, "true"},
		{"a int", "a == 9223372036854775807", `{}`, `{"a":"9223372036854775807"}`, "true"},
		{"a uint", "a == 18446744073709551615u", `{}`, `{"a":"18446744073709551615"}`, "true"},
		{"a double", "a == 1.5", `{"a":1.5}`, `{}`, "true"},
		{"a double", "a > 1", `{"a":"1.5"}`, `{}`, "true"},
		{"a bool", "!a", `{"a":true}`, `{}`, "false"},
		{"a string", "a.startsWith('ab')", `{"a":"abc"}`, `{}`, "true"},
		{"a bytes", `a == b"abc"`, `{"a":"YWJj"}`, `{}`, "true"},
		{"a duration", `a > duration("1h")`, `{"a":"1h30m"}`, `{}`, "true"},
		{"a timestamp", `a < timestamp("2030-01-01T00:00:00Z")`, `{"a":"2029-12-31T23:59:59.9Z"}`, `{}`, "true"},
		{"a timestamp, z string", `a.getHours(z) == 13 && a.getHours() == 12`, `{"a":"2029-12-31T12:00:00Z","z":"Europe/Berlin"}`, `{}`, "true"},
		{"a timestamp", `a.getHours() == 10`, `{"a":"2029-12-31T12:00:00+02:00"}`, `{}`, "true"},
		{"a list<string>", `"x" in a`, `{"a":["y","x"]}`, `{}`, "true"},
		{"a list<list<int>>", `a[1][0] == 3`, `{"a":[[],["3"]]}`, `{}`, "true"},
		{"a map<int>", `a.x + a["y"] == 3`, `{"a":{"x":1,"y":2}}`, `{}`, "true"},
		{"a map<any>", `has(a.x) && !has(a.y) && a.x.z == 1`, `{"a":{"x":{"z":1}}}`, `{}`, "true"},
		{"a any", `a == 1`, `{"a":1}`, `{}`, "true"},
		{"a any", `a == "1"`, `{"a":1}`, `{}`, "false"},
		{"a any", `a == null`, `{"a":null}`, `{}`, "true"},
		{"a any", `a.b[1] == "x"`, `{"a":{"b":[0,"x"]}}`, `{}`, "true"},
		{"a ipaddress, c string", `a.in_cidr(c)`, `{"c":"10.0.0.0/8"}`, `{"a":"10.1.2.3"}`, "true"},
		{"a ipaddress, c string", `a.in_cidr(c)`, `{"c":"10.0.0.0/8"}`, `{"a":"11.1.2.3"}`, "false"},
		{"a ipaddress, c string", `a.in_cidr(c)`, `{"c":"10.0.0.0/8"}`, `{"a":"::ffff:10.1.2.3"}`, "true"},
		{"a ipaddress, c string", `a.in_cidr(c)`, `{"c":"::ffff:0:0/96"}`, `{"a":"::ffff:10.1.2.3"}`, "true"},
		{"a ipaddress, c string", `a.in_cidr(c)`, `{"c":"2001:db8::/32"}`, `{"a":"2001:db8::1"}`, "true"},
		{"a ipaddress, c string", `a.in_cidr(c)`, `{"c":"10.0.0.0/8"}`, `{}`, "a"},
		{"a ipaddress, b list<ipaddress>", `a in b`, `{"b":["10.0.0.1","10.0.0.2"]}`, `{"a":"::ffff:10.0.0.2"}`, "true"},
		{"a map<any>, b map<any>", `a.isSubtreeOf(b)`, `{"a":{"x":1,"y":{"z":[1,2]}}}`, `{"b":{"x":1,"y":{"z":[1,2],"w":3},"v":0}}`, "true"},
		{"a map<any>, b map<any>", `a.isSubtreeOf(b)`, `{"a":{"x":1,"y":{"z":1}}}`, `{"b":{"x":1,"y":{"z":"1"}}}`, "false"},
		{"a map<any>, b map<any>", `a.isSubtreeOf(b)`, `{"a":{"x":1,"y":{"z":1}}}`, `{"b":{"x":1}}`, "false"},
		{"a map<int>, b map<any>", `a.isSubtreeOf(b)`, `{"a":{"x":1}}`, `{"b":{"x":1,"y":null}}`, "true"},
		{"a map<int>, b map<any>", `a.isSubtreeOf(b)`, `{"a":{"x":1}}`, `{"b":{"x":{}}}`, "false"},
		{"a map<any>, b map<any>", `a.isSubtreeOf(b)`, `{}`, `{"a":{}}`, "b"},
		// What is missing, and what is not.
		{"a int, b int", `a == 1 && b == 2`, `{}`, `{}`, "a b"},
		{"a int, b int", `a == 1 && b == 2`, `{"a":1}`, `{}`, "b"},
		{"a int, b int", `a == 1 && b == 2`, `{"a":2}`, `{}`, "false"},
		{"a int, b int", `a == 1 && b == 2`, `{"b":1}`, `{}`, "false"},
		{"a int, b int", `a == 1 || b == 2`, `{"b":2}`, `{}`, "true"},
		{"a bool, b int, c int", `a ? b == 1 : c == 1`, `{"a":true}`, `{}`, "b"},
		{"a bool, b int, c int", `a ? b == 1 : c == 1`, `{}`, `{}`, "a"},
		{"b int, a int", `a < b`, `{}`, `{}`, "b a"},
		{"a list<int>, b int", `a.exists(i, i == b)`, `{"a":[]}`, `{}`, "false"},
		{"a list<int>, b int", `a.exists(i, i == b || i == 3)`, `{"a":[1,3]}`, `{}`, "true"},
		{"a list<int>, b int", `a.exists(i, i == b)`, `{"a":[1]}`, `{}`, "b"},
		{"a map<int>, b bool", `b && a.nokey == 1`, `{"a":{}, "b":false}`, `{}`, "false"},
		{"a map<int>, b bool", `a.nokey == 1 || b`, `{"a":{}}`, `{"b":true}`, "true"},
		{"a map<int>, b bool", `a.nokey == 1 || b`, `{"a":{}}`, `{}`, "b"},
		// A macro's variable hides a parameter of its name.
		{"a list<int>, x int", `a.all(x, x > 3) && x == 1`, `{"a":[4]}`, `{}`, "x"},
		{"a list<int>, x int", `a.all(x, x > 3) && x == 1`, `{"a":[3]}`, `{}`, "false"},
		{"a list<int>, b int", `a.map(i, i * b).filter(i, i > 4) == [6]`, `{"a":[1,2,3]}`, `{"b":2}`, "true"},
		{"a map<int>", `a.?x.orValue(7) == 7`, `{"a":{}}`, `{}`, "true"},
	} {
		p, err := Compile("test", declare(c.parameters), c.expression)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		if p.Name() != "test" || p.Expression() != c.expression {
			t.Errorf("%s: the program is %s, %s", c.expression, p.Name(), p.Expression())
		}
		for _, exact := range []bool{false, true} {
			stored := object(t, c.stored, exact)
			if err := p.Check(stored); err != nil {
				t.Errorf("%s: Check(%s): %v", c.expression, c.stored, err)
			}
			r, err := p.Eval(stored, object(t, c.request, exact))
			got := map[Outcome]string{True: "true", False: "false", Missing: strings.Join(r.Fields, " ")}[r.Outcome]
			if err != nil || got != c.want {
				t.Errorf("%s with %s, %s: %s, %v; want %s", c.expression, c.stored, c.request, got, err, c.want)
			}
		}
	}
}

func TestParameterErrors(t *testing.T) {
	for _, c := range []struct{ typ, value, says string }{
		{"int", `4.2`, "int is expected; the value is the number 4.2: it has a fraction"},
		{"int", `1e300`, "it is out of range"},
		{"int", `9223372036854775808`, "out of range"},
		{"int", `-9223372036854777856`, "out of range"},
		{"int", `"x"`, `the value is the string "x"`},
		{"int", `"0x10"`, "the string"},
		{"int", `""`, "the string"},
		{"int", `"9007199254740993.0"`, "beyond 2^53"},
		{"int", `true`, "the value is the bool true"},
		{"int", `null`, "the value is null"},
		{"int", `[1]`, "the value is a list"},
		{"int", `{}`, "the value is an object"},
		{"uint", `-1`, "uint is expected; the value is the number -1: it is out of range"},
		{"uint", `"-1"`, "out of range"},
		{"uint", `"18446744073709551616"`, "out of range"},
		{"uint", `1.5`, "fraction"},
		{"double", `"NaN"`, "double is expected"},
		{"double", `"1e999"`, "out of range"},
		{"double", `"1_0"`, "double is expected"},
		{"bool", `"true"`, "bool is expected"},
		{"bool", `1`, "bool is expected"},
		{"string", `1`, "string is expected; the value is the number 1"},
		{"bytes", `"x"`, "base64"},
		{"duration", `"1 hour"`, "1h30m"},
		{"duration", `3600`, "1h30m"},
		{"timestamp", `"2030-01-01"`, "timestamp is expected"},
		{"timestamp", `"0000-01-01T00:00:00Z"`, "between the years"},
		{"ipaddress", `"10.0.0"`, "ipaddress is expected"},
		{"ipaddress", `"fe80::1%eth0"`, "ipaddress is expected"},
		{"list<int>", `1`, "list<int> is expected"},
		{"list<int>", `[1,"x"]`, "item 1 of the list: int is expected"},
		{"map<list<bool>>", `{"k":[0]}`, `the entry "k" of the map: item 0 of the list: bool is expected; the value is the number 0`},
		{"map<int>", `[]`, "map<int> is expected; the value is a list"},
	} {
		p, err := Compile("cav", []Parameter{{"par", c.typ}}, "par == par")
		if err != nil {
			t.Fatal(err)
		}
		for _, exact := range []bool{false, true} {
			value := object(t, `{"par":`+c.value+`}`, exact)
			_, evalErr := p.Eval(nil, value)
			for _, err := range []error{evalErr, p.Check(value)} {
				var e *ParameterError
				if !errors.As(err, &e) || e.Caveat != "cav" || e.Parameter != "par" || e.Type != c.typ {
					t.Errorf("%s from %s: %v", c.typ, c.value, err)
				} else if !strings.Contains(err.Error(), c.says) && exact {
					t.Errorf("%s from %s: %v; want …%s…", c.typ, c.value, err, c.says)
				}
			}
		}
	}
	p, _ := Compile("cav", declare("a int"), "a == 1")
	var e *ParameterError
	if err := p.Check(map[string]any{"a": 1.0, "z": 1.0, "b": nil}); !errors.As(err, &e) || e.Parameter != "b" || e.Type != "" {
		t.Error(err)
	}
	if _, err := p.Eval(map[string]any{"a": "x"}, map[string]any{"a": 1.0}); !errors.As(err, &e) {
		t.Error("a stored value of another type:", err)
	}
	if r, err := p.Eval(map[string]any{"a": 1.0}, map[string]any{"a": "x"}); err != nil || r.Outcome != True {
		t.Error("a request's value that is not used:", r, err)
	}
	p, _ = Compile("cav", declare("a any"), "a == 1")
	if err := p.Check(map[string]any{"a": struct{}{}}); !errors.As(err, &e) || e.Type != "any" {
		t.Error("a value that JSON does not have:", err)
	}
}

func TestEvaluationErrors(t *testing.T) {
	for expression, context := range map[string]string{
		"m.nokey == 1":                  `{"m":{}}`,
		"m.a / m.b == 1":                `{"m":{"a":1,"b":0}}`,
		"m.a + 9223372036854775807 > 0": `{"m":{"a":1}}`,
	} {
		p, err := Compile("cav", declare("m map<int>"), expression)
		if err != nil {
			t.Fatal(err)
		}
		var e *EvaluationError
		if r, err := p.Eval(nil, object(t, context, false)); !errors.As(err, &e) || e.Caveat != "cav" || e.Err == nil {
			t.Errorf("%s: %v, %v", expression, r, err)
		}
	}
	p, _ := Compile("cav", declare("a ipaddress, c string"), "a.in_cidr(c)")
	var e *EvaluationError
	if _, err := p.Eval(nil, map[string]any{"a": "10.0.0.1", "c": "10.0.0.0"}); !errors.As(err, &e) || !strings.Contains(err.Error(), "not a network") {
		t.Error(err)
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		parameters, expression string
		offset                 int
		says                   string
	}{
		{"a int", "a", 0, "gives int, not bool"},
		{"a any", "a", 0, "not bool"},
		{"a int", "", 0, "Syntax error"},
		{"a int", "a ==", 4, "Syntax error"},
		{"a int", "a == b", 5, "undeclared reference to 'b'"},
		{"a int", "\n  'ä' == '' &&\n\n 'ö' == b && a == 1", 27, "undeclared reference to 'b'"},
		{"a int", "a == 'x'", 2, "no matching overload"},
		{"a int, b int", "a == 1", -1, "the parameter b is not used"},
		{"a int, b int", "[1].all(b, b == a)", -1, "the parameter b is not used"},
		{"a int, a int", "a == 1", -1, "declared twice"},
		{"a inte", "a == 1", -1, `parameter a: there is no type "inte"`},
		{"a list", "a == []", -1, "list needs the type"},
		{"a string", "a.in_cidr('x')", 9, "no matching overload"},
	} {
		_, err := Compile("cav", declare(c.parameters), c.expression)
		var e *CompileError
		if !errors.As(err, &e) || e.Caveat != "cav" || e.Offset != c.offset || !strings.Contains(e.Message, c.says) {
			t.Errorf("%q: %#v; want offset %d: …%s…", c.expression, err, c.offset, c.says)
		}
	}
	if _, err := Compile("cav", nil, "true"); err == nil {
		t.Error("no parameters")
	}
}

func TestParseType(t *testing.T) {
	for text, want := range map[string]string{
		" int ": "int", "list< map <string> >": "list<map<string>>", "map<any>": "map<any>", "list<int": "!", "int<int>": "!", "list": "!",
		"list<>": "!", "": "!", "int int": "!", "list<int>>": "!", "Int": "!", strings.Repeat("list<", 30) + "int" + strings.Repeat(">", 30): "!",
	} {
		got, err := ParseType(text)
		if want == "!" && err == nil || want != "!" && (err != nil || got.String() != want) {
			t.Errorf("ParseType(%q) = %v, %v", text, got, err)
		}
	}
}

// A hostile expression is stopped, with little time used.
func TestCostLimit(t *testing.T) {
	loop := "l"
	for _, v := range []string{"a", "b", "c", "d", "e", "f"} {
		loop = "l.all(" + v + ", " + loop + ".size() >= 0)"
		loop = strings.ReplaceAll(loop, ").size() >= 0", ")")
	}
	loop = strings.ReplaceAll(loop, "l.size() >= 0", "size(l) >= 0")
	p, err := Compile("cav", declare("l list<int>"), strings.Replace(loop, "a, l)", "a, a >= 0)", 1))
	if err != nil {
		t.Fatal(err)
	}
	list := make([]any, 300)
	for i := range list {
		list[i] = 1.0
	}
	start := time.Now()
	var e *EvaluationError
	if _, err := p.Eval(nil, map[string]any{"l": list}); !errors.As(err, &e) || !strings.Contains(err.Error(), "cost limit") {
		t.Error(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it was stopped after %v", d)
	}
	if r, err := p.Eval(nil, map[string]any{"l": list[:3]}); err != nil || r.Outcome != True {
		t.Error(r, err)
	}
}

// Long sums of texts copy what was added before, again and again.
func TestLongSum(t *testing.T) {
	for _, terms := range []int{10, 200, 20_000} {
		start := time.Now()
		p, err := Compile("cav", declare("s string"), strings.Repeat("s + ", terms)+"s != ''")
		if err != nil {
			continue // too long is as good
		}
		r, err := p.Eval(nil, map[string]any{"s": strings.Repeat("x", 30_000)})
		if terms > 10 && err == nil {
			t.Errorf("a sum of %d texts: %v", terms, r)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("a sum of %d texts took %v", terms, d)
		}
		if r, err := p.Eval(nil, map[string]any{"s": "x"}); terms < 20_000 && (err != nil || r.Outcome != True) {
			t.Errorf("a sum of %d short texts: %v, %v", terms, r, err)
		}
	}
}

func TestRegexLimit(t *testing.T) {
	start := time.Now()
	defer func() {
		if d := time.Since(start); d > 15*time.Second {
			t.Error("it took", d)
		}
	}()
	for _, pattern := range []string{"r", "'((a{9}){9}){4}b'"} {
		many, err := Compile("cav", declare("s string, r string"), strings.Repeat("!s.matches("+pattern+") && ", 100)+"r != ''")
		if err != nil {
			t.Fatal(err)
		}
		_, err = many.Eval(nil, map[string]any{"s": strings.Repeat("a", 25_000), "r": "((a{9}){9}){4}b"})
		if err == nil || !strings.Contains(err.Error(), "cost limit") {
			t.Errorf("many searches for %s: %v", pattern, err)
		}
	}
	p, err := Compile("cav", declare("s string, r string"), "s.matches(r)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(nil, map[string]any{"s": "a", "r": "(((a{30}){30}){30}){30}"}); err == nil {
		t.Error("a regular expression of any size")
	}
	if r, err := p.Eval(nil, map[string]any{"s": "aab", "r": "^a{2}[b-z]+$"}); err != nil || r.Outcome != True {
		t.Error(r, err)
	}
}

func TestConcurrent(t *testing.T) {
	p, err := Compile("cav", declare("a int, l list<int>"), "l.exists(i, i == a)")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				request := map[string]any{"a": float64(g), "l": []any{float64(i % 8)}}
				want := False
				if i%8 == g {
					want = True
				}
				if i%3 == 0 {
					delete(request, "a")
					want = Missing
				}
				if r, err := p.Eval(nil, request); err != nil || r.Outcome != want || (want == Missing) != slices.Equal(r.Fields, []string{"a"}) {
					t.Errorf("%v, %v; want %v", r, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkEval(b *testing.B) {
	run := func(name, parameters, expression string, stored, request map[string]any) {
		b.Run(name, func(b *testing.B) {
			p, err := Compile("bench", declare(parameters), expression)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eval(stored, request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("compare", "a int", "a == 42", nil, map[string]any{"a": 42.0})
	run("missing", "a int", "a == 42", nil, nil)
	run("cidr", "ip ipaddress, cidr string", "ip.in_cidr(cidr)", map[string]any{"cidr": "10.0.0.0/8"}, map[string]any{"ip": "10.1.2.3"})
	run("loop", "l list<int>", "l.all(i, i > 0)", nil, map[string]any{"l": []any{1.0, 2.0, 3.0}})
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile("bench", declare("a int"), "a == 42"); err != nil {
			b.Fatal(err)
		}
	}
}
