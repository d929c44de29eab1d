package schema_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/schema/schematest"
)

func parse(t testing.TB, text string) *schema.Schema {
	t.Helper()
	s, err := schema.Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// same fails the test unless two schemas say the same, in whatever order of
// definitions.
func same(t testing.TB, a, b *schema.Schema) {
	t.Helper()
	if !slices.Equal(a.Uses, b.Uses) || len(a.Definitions) != len(b.Definitions) || len(a.Caveats) != len(b.Caveats) {
		t.Fatalf("not the same:\n%s\n----\n%s", a.Text(), b.Text())
	}
	for _, d := range a.Definitions {
		e := b.Definition(d.Name)
		if e == nil || d.Comment != e.Comment || !reflect.DeepEqual(d.Relations, e.Relations) || !reflect.DeepEqual(d.Permissions, e.Permissions) {
			t.Fatalf("definition %s is not the same:\n%s\n----\n%s", d.Name, a.Text(), b.Text())
		}
	}
	for _, c := range a.Caveats {
		e := b.Caveat(c.Name)
		if e == nil || c.Comment != e.Comment || c.Expression != e.Expression || !slices.Equal(c.Parameters, e.Parameters) {
			t.Fatalf("caveat %s is not the same:\n%s\n----\n%s", c.Name, a.Text(), b.Text())
		}
	}
}

func roundTrip(t testing.TB, s *schema.Schema) {
	t.Helper()
	text := s.Text()
	again, err := schema.Parse(text)
	if err != nil {
		t.Fatalf("the text of a schema does not parse: %v\n%s", err, text)
	}
	same(t, s, again)
	if got := again.Text(); got != text {
		t.Fatalf("the text changes:\n%s\n----\n%s", text, got)
	}
}

// seeds calls f with a source of randomness for each of n seeds.
func seeds(t *testing.T, n int, f func(r *rand.Rand)) {
	seed := 0
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for ; seed < n; seed++ {
		f(rand.New(rand.NewPCG(uint64(seed), 7)))
	}
}

func TestRandomSchemas(t *testing.T) {
	seeds(t, 1500, func(r *rand.Rand) {
		sample := schematest.Random(r)
		s := parse(t, sample.Text)
		relations, permissions := 0, 0
		for _, d := range s.Definitions {
			relations += len(d.Relations)
			permissions += len(d.Permissions)
		}
		if relations != len(sample.Relations) || permissions != len(sample.Permissions) || len(s.Caveats) != len(sample.Caveats) {
			t.Fatalf("%d relations, %d permissions, %d caveats in\n%s", relations, permissions, len(s.Caveats), sample.Text)
		}
		for p, want := range sample.Relations {
			rel, _ := s.Definition(p.Type).Member(p.Relation)
			if rel == nil || !slices.Equal(rel.Types, want) {
				t.Fatalf("%v is %v, not %v in\n%s", p, rel, want, sample.Text)
			}
		}
		for p, want := range sample.Permissions {
			_, perm := s.Definition(p.Type).Member(p.Relation)
			if perm == nil || !reflect.DeepEqual(perm.Expr, want) {
				t.Fatalf("%v is %v, not %s in\n%s", p, perm, schema.Source(want), sample.Text)
			}
		}
		roundTrip(t, s)
	})
}

func TestPrecedence(t *testing.T) {
	for in, want := range map[string]string{
		"aaa + bbb & ccc":                     "(aaa + bbb) & ccc",
		"aaa & bbb + ccc":                     "aaa & (bbb + ccc)",
		"aaa - bbb + ccc":                     "aaa - (bbb + ccc)",
		"aaa + bbb - ccc":                     "(aaa + bbb) - ccc",
		"aaa - bbb & ccc":                     "aaa - (bbb & ccc)",
		"aaa & bbb - ccc":                     "(aaa & bbb) - ccc",
		"aaa - bbb - ccc":                     "(aaa - bbb) - ccc",
		"aaa - (bbb - ccc)":                   "aaa - (bbb - ccc)",
		"aaa + (bbb + ccc)":                   "aaa + bbb + ccc",
		"(aaa & bbb) & (ccc & aaa)":           "aaa & bbb & ccc & aaa",
		"aaa - bbb + ccc & aaa":               "aaa - ((bbb + ccc) & aaa)",
		"((aaa->ddd) + nil) - par.all(ddd)":   "(aaa->ddd + nil) - par.all(ddd)",
		"(((aaa)))":                           "aaa",
		"aaa+bbb+(ccc-par->xyz)+par.any(xyz)": "aaa + bbb + (ccc - par->xyz) + par.any(xyz)",
	} {
		s := parse(t, "definition user {}\ndefinition doc {\nrelation aaa: user\nrelation bbb: user\nrelation ccc: user\nrelation par: doc\npermission xyz = "+in+"\n}")
		_, p := s.Definition("doc").Member("xyz")
		if got := schema.Source(p.Expr); got != want {
			t.Errorf("%s is %s, not %s", in, got, want)
		}
		roundTrip(t, s)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", " \n// nothing\n", ""},
		{"definition", "definition foos/test{}", "definition foos/test {}"},
		{"comment", "/** some def */definition test {}", "/** some def */\ndefinition test {}"},
		{
			"comments of members", "definition test {\n\n  // first\n  /* second */\n relation one: test; //third\n relation two: test // behind\n permission all = one\n}",
			"definition test {\n\t// first\n\t/* second */\n\trelation one: test\n\n\t// third\n\trelation two: test\n\tpermission all = one\n}",
		},
		{"one line", "definition test {\n/**\n * hi there\n */\nrelation one: test;}", "definition test {\n\t/** hi there */\n\trelation one: test\n}"},
		{"wide comment", "/** " + strings.Repeat("a", 71) + " */definition test {}", "/**\n * " + strings.Repeat("a", 71) + "\n */\ndefinition test {}"},
		{"lines", "definition test {\n/** multiline\n\ncomment */\nrelation one: test;}", "definition test {\n\t/**\n\t * multiline\n\t *\n\t * comment\n\t */\n\trelation one: test\n}"},
		{
			"order", "definition user {} definition doc { permission edit = owner\n relation owner: user\n }\ncaveat zero(b int, a int) { a == b }",
			"caveat zero(a int, b int) {\n\ta == b\n}\n\ndefinition doc {\n\tpermission edit = owner\n\trelation owner: user\n}\n\ndefinition user {}",
		},
		{
			"flags", "use typechecking\nuse self; use expiration\nuse partial\ndefinition user { relation a_b: user:* with expiration | user\n permission see: user = self\n}",
			"use expiration\nuse self\nuse typechecking\n\ndefinition user {\n\trelation a_b: user:* with expiration | user\n\tpermission see: user = self\n}",
		},
		{"flags that nothing needs", "use expiration\nuse self\nuse typechecking\ndefinition user {}", "definition user {}"},
		{"annotations without the flag", "definition user {\npermission see: nobody | user = nil\n}", "definition user {\n\tpermission see = nil\n}"},
		{
			"names that look like keywords", "caveat expiration(and int) { and == 1 }\ndefinition partial {\n relation self: partial with expiration\n permission use = self\npermission import = self\n}",
			"caveat expiration(and int) {\n\tand == 1\n}\n\ndefinition partial {\n\trelation self: partial with expiration\n\tpermission use = self\n\tpermission import = self\n}",
		},
		{
			"partials", "use partial\ndefinition doc {\n...base\npermission more = view\n}\npartial base {\n relation user: doc\n ...deep\n}\npartial deep {\n// see\npermission view = user\n}",
			"definition doc {\n\trelation user: doc\n\n\t// see\n\tpermission view = user\n\tpermission more = view\n}",
		},
		{"caveat", "caveat foo/is_it(\n  a list<map<int>>,\n b any\n) {\n // why\n a.size() == 1 ||\n\t\tb == '}{'  }", "caveat foo/is_it(a list<map<int>>, b any) {\n\t// why\n a.size() == 1 ||\n\t\tb == '}{'\n}"},
		{"ellipsis", "definition user {\nrelation one: user#... | user#one\n}", "definition user {\n\trelation one: user | user#one\n}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parse(t, c.in)
			if s.IsZero() != (c.want == "") {
				t.Errorf("IsZero is %v", s.IsZero())
			}
			if got := s.Text(); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
			roundTrip(t, s)
		})
	}
}

// TestErrors marks the place of each error with « and ».
func TestErrors(t *testing.T) {
	const user = "definition user {}\n"
	body := func(s string) string { return user + "definition doc {\n\trelation viewer: user\n" + s + "\n}" }
	for _, c := range []struct {
		kind    schema.Kind
		message string
		text    string
	}{
		{schema.Syntax, "consists of `definition`", "«foo»"},
		{schema.Syntax, "consists of `definition`", "«relation» x: y"},
		{schema.Syntax, "new line or a semicolon", "definition doc {\n\trelation some: rela | relb «+» relc\n}"},
		{schema.Syntax, "also before }", "definition doc { relation some: rela «}»"},
		{schema.Syntax, "never closed", "definition doc «{»\nrelation some: doc\n"},
		{schema.Syntax, "new line or a semicolon", "definition doc { relation one: doc «relation» two: doc }"},
		{schema.Syntax, "cannot begin with \"+\"", body("permission view = viewer\n «+» viewer")},
		{schema.Syntax, "is not the name of a type", "definition «ab» {}"},
		{schema.Syntax, "is not the name of a type", "definition «someTenant/foo» {}"},
		{schema.Syntax, "is not the name of a relation", body("relation «ab»: user")},
		{schema.Syntax, "name of a permission", body("permission «*» = viewer")},
		{schema.Syntax, "is a word of the schema language", body("relation «with»: user")},
		{schema.Syntax, "is a word of the schema language", "use self\n" + body("relation «self»: user")},
		{schema.Syntax, "already the name", user + "definition «user» {}"},
		{schema.Syntax, "already the name", user + "caveat «user»(a int) { a == 1 }"},
		{schema.Syntax, "leads one step", body("permission view = «viewer->one->»two")},
		{schema.Syntax, "is no function", body("permission view = viewer.«every»(one)")},
		{schema.Syntax, "ends with )", body("permission view = (viewer\n«permission» edit = viewer")},
		{schema.Syntax, "name of a relation or permission, or nil", body("permission view = «;»")},
		{schema.Syntax, "after =", body("permission view «viewer»")},
		{schema.Syntax, "after a colon", body("relation owner «=» user")},
		{schema.Syntax, "followed by *", body("relation owner: user:«user»")},
		{schema.Syntax, "no character '%'", body("relation owner: «%»")},
		{schema.Syntax, "no end", "definition user {\n«/*» abc\n"},
		{schema.Syntax, "new line or a semicolon", body("relation owner: user «user»")},
		{schema.Syntax, "must stand before", user + "«use self»"},
		{schema.Syntax, "twice", "use self\n«use self»"},
		{schema.Syntax, "takes one of", "use «everything»"},
		{schema.Syntax, "cannot import", "use «import»\nimport './a.zed'"},
		{schema.Syntax, "cannot import", "«import» './a.zed'"},
		{schema.Syntax, "need the line `use partial`", "«partial» one {}"},
		{schema.Syntax, "need the line `use partial`", body("«...»one")},
		{schema.Syntax, "no partial", "use partial\n" + body("...«one»")},
		{schema.Syntax, "contains itself", "use partial\npartial one {\n...two\n}\npartial two {\n...«one»\n}\n" + body("...one")},
		{schema.Syntax, "already a partial", "use partial\npartial one {\n}\npartial «one» {\n}"},
		{schema.Syntax, "the caveat comes first", "use expiration\n" + body("relation owner: user with expiration «and» some")},
		{schema.Syntax, "needs the line `use expiration`", body("relation owner: user with some «and» expiration")},
		{schema.Syntax, "one caveat at most", "use expiration\n" + body("relation owner: user with some and «other»")},
		{schema.Syntax, "name of a parameter", "caveat foo(«)» { true }"},
		{schema.Syntax, "stands in braces", "caveat foo(a int) «a» == 1"},
		{schema.Syntax, "never closed", "caveat foo(a int) «{» a == 1 // }"},
		{schema.Syntax, "no end", "caveat foo(a string) { a == «\"\"\"x\"}»"},
		{schema.Syntax, "consists of `relation`", body("«viewer»: user")},
		{schema.Syntax, "needs an expression", "caveat foo(a int) «{\n}»"},
		{schema.Syntax, "never closed", "caveat foo(a int) «{» a == 1"},
		{schema.Syntax, "no end", "caveat foo(a string) { a == «'}»\n}"},
		{schema.Syntax, "parameter \"a\"", "caveat foo(a «map<foobar>») { a == 1 }"},
		{schema.Syntax, "parameter \"a\"", "caveat foo(a «list») { a == 1 }"},
		{schema.Syntax, "twice", "caveat foo(a int, «a» int) { a == 1 }"},
		{schema.Syntax, "digit", "caveat foo(«1a» int) { true }"},
		{schema.Syntax, "undeclared", "caveat foo(aaa int) {\n\taaa == 1 &&\n\t  «bbb == 2»\n}"},
		{schema.Syntax, "bool", "caveat foo(aaa int) {\n\t«aaa»\n}"},
		{schema.Type, "is not used", "caveat foo(a int, «bcd» int) {\n\ta == 1\n}"},
		{schema.Type, "of which there is no definition", body("relation owner: user | «missing»")},
		{schema.Type, "which is a caveat", "caveat foo(a int) { a == 1 }\n" + body("relation owner: user | «foo»")},
		{schema.Type, "no relation or permission \"missing\"", body("relation owner: doc#«missing»")},
		{schema.Type, "no caveat \"missing\"", body("relation owner: user with «missing»")},
		{schema.Type, "use expiration", body("relation owner: user with «expiration»")},
		{schema.Type, "twice", body("relation owner: user | «user#...»")},
		{schema.Type, "twice", body("relation owner: user:* | doc | «user:*»")},
		{schema.Type, "already has", body("permission «viewer» = nil")},
		{schema.Type, "no relation or permission \"edit\"", body("permission view = viewer + («edit»)")},
		{schema.Type, "no relation or permission \"missing\"", body("permission view = viewer + «missing»->view")},
		{schema.Type, "starts at a relation", body("permission view = viewer\npermission more = «view»->view")},
		{schema.Type, "starts at a relation", body("permission view = viewer\npermission more = nil + «view».all(view)")},
		{schema.Type, "use self", body("permission view = «self»")},
		{schema.Type, "computed from itself: view from edit from view", body("permission «view» = edit\npermission edit = view")},
		{schema.Type, "computed from itself: edit from edit", body("permission view = edit\npermission «edit» = viewer - (edit + viewer)")},
		{schema.Type, "leaves out", "use typechecking\n" + body("permission «view»: doc = viewer")},
		{schema.Type, "leaves out", "use typechecking\n" + body("relation parent: doc\nrelation group: doc#viewer\npermission «view»: doc = parent->group + parent")},
		{schema.Type, "no definition", "use typechecking\n" + body("permission view: user | «nobody» = viewer")},
		{schema.Type, "already has", "use partial\npartial one {\nrelation «viewer»: user\n}\n" + body("...one")},
		{schema.Syntax, "zero byte", "definition a«\x00»b {}"},
		{schema.Syntax, "UTF-8", "// \xff"},
		{schema.Syntax, "no character", "/* 🐢 */ «🐢»"},
	} {
		text := strings.NewReplacer("«", "", "»", "").Replace(c.text)
		_, err := schema.Parse(text)
		e, ok := err.(*schema.Error)
		if !ok {
			t.Errorf("%v instead of %q for\n%s", err, c.message, c.text)
			continue
		}
		if e.Kind != c.kind || !strings.Contains(e.Message, c.message) {
			t.Errorf("%d %q instead of %d %q for\n%s", e.Kind, e.Message, c.kind, c.message, c.text)
		}
		start := strings.Index(c.text, "«")
		if start < 0 {
			continue
		}
		source, _, _ := strings.Cut(c.text[start+len("«"):], "»")
		line, column := place(text, start)
		endLine, endColumn := place(text, start+len(source)-len(lastRune(source)))
		if e.Source != source || e.Line != line || e.Column != column || e.EndLine != endLine || e.EndColumn != endColumn {
			t.Errorf("%d:%d-%d:%d %q instead of %d:%d-%d:%d %q for\n%s", e.Line, e.Column, e.EndLine, e.EndColumn, e.Source,
				line, column, endLine, endColumn, source, c.text)
		}
	}
}

func lastRune(s string) string {
	runes := []rune(s)
	return string(runes[len(runes)-1:])
}

// place counts characters from the start of the text.
func place(text string, offset int) (line, column int) {
	for i, r := range text {
		if i == offset {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 0
		}
	}
	return line, column
}

func TestErrorSaysWhere(t *testing.T) {
	_, err := schema.Parse("definition doc {\n  relation x_y: nobody\n}")
	if want := `schema line 2, column 17: relation "x_y" has subjects of type "nobody", of which there is no definition`; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if e := err.(*schema.Error); e.Definition != "doc" {
		t.Errorf("definition %q", e.Definition)
	}
}

// TestHugeTexts must neither overflow the stack nor take long.
func TestHugeTexts(t *testing.T) {
	const n = 100_000
	of := func(expr string) string {
		return "definition doc {\nrelation one: doc\npermission all = " + expr + "\n}"
	}
	var chain, partials, types strings.Builder
	for i := range n / 5 {
		fmt.Fprintf(&chain, "permission p%07d = p%07d\n", i, i+1)
		fmt.Fprintf(&partials, "partial p%07d {\n...p%07d\n}\n", i, i+1)
		fmt.Fprintf(&types, "definition t%07d {}\n", i)
	}
	for name, c := range map[string]struct{ text, message string }{
		"parentheses":          {of(strings.Repeat("(", n) + "one" + strings.Repeat(")", n)), "parentheses are open"},
		"open parentheses":     {of(strings.Repeat("(", n)), "parentheses are open"},
		"exclusions":           {of("one" + strings.Repeat(" - one", n)), "nested deeper"},
		"unions":               {of("one" + strings.Repeat(" + one", n)), ""},
		"nested":               {of(strings.Repeat("(one & (one + ", n)), "parentheses are open"},
		"arrows":               {of("one" + strings.Repeat("->one", n)), "one step"},
		"braces":               {"caveat foo(a int) " + strings.Repeat("{", n), "never closed"},
		"caveat's parentheses": {"caveat foo(a int) {" + strings.Repeat("(", n) + "a" + strings.Repeat(")", n) + " == 1 }", "caveat"},
		"parameter types":      {"caveat foo(a " + strings.Repeat("list<", n), "nested deeper"},
		"chain of permissions": {"definition doc {\n" + chain.String() + "permission " + fmt.Sprintf("p%07d", n/5) + " = nil\n}", ""},
		"cycle of permissions": {"definition doc {\n" + chain.String() + "permission " + fmt.Sprintf("p%07d", n/5) + " = p0000000\n}", "computed from itself"},
		"chain of partials":    {"use partial\n" + partials.String() + "partial " + fmt.Sprintf("p%07d", n/5) + " {\nrelation one: doc\n}\ndefinition doc {\n...p0000000\n}", ""},
		"types":                {types.String() + "definition doc {\nrelation one: doc" + strings.Repeat(" | doc", n) + "\n}", "twice"},
		"comment":              {strings.Repeat("/* ", n), "no end"},
		"slashes":              {"definition " + strings.Repeat("abc/", n) + "abc {}", "longer"},
	} {
		_, err := schema.Parse(c.text)
		switch {
		case c.message == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.message != "" && (err == nil || !strings.Contains(err.Error(), c.message)):
			t.Errorf("%s: %.300v", name, err)
		case err != nil && len(err.Error()) > 2000:
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	// Partials that double each other end, too.
	var double strings.Builder
	double.WriteString("use partial\npartial p00 {\n}\n")
	for i := range 50 {
		fmt.Fprintf(&double, "partial p%02d {\n...p%02d\n...p%02d\n}\n", i+1, i, i)
	}
	text := double.String() + "definition doc {\n...p50\n}"
	parse(t, text)
	if _, err := schema.Parse(strings.Replace(text, "p00 {\n", "p00 {\nrelation one: doc\n", 1)); err == nil {
		t.Error("partials of 2^50 lines were taken")
	}
}

func TestDeepestExpression(t *testing.T) {
	s := parse(t, "definition doc {\nrelation one: doc\npermission all = one"+strings.Repeat(" - one", 100)+"\n}")
	roundTrip(t, s)
}

// conformance calls f with the schema of each public validation file.
func conformance(t *testing.T, f func(t *testing.T, text string)) {
	dir := os.Getenv("TIDEMARK_CONFORMANCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "conformance")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "spicedb", "*.yaml"))
	if len(files) == 0 {
		t.Skip("the validation files are not here; TIDEMARK_CONFORMANCE may say where they are")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var parts struct {
				Schema string `yaml:"schema"`
			}
			if err := yaml.Unmarshal(text, &parts); err != nil || parts.Schema == "" {
				t.Fatalf("%v, schema %q", err, parts.Schema)
			}
			f(t, parts.Schema)
		})
	}
}

func TestConformanceSchemas(t *testing.T) {
	conformance(t, func(t *testing.T, text string) { roundTrip(t, parse(t, text)) })
}

func FuzzParse(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(schematest.Random(rand.New(rand.NewPCG(seed, 1))).Text)
	}
	f.Add("use partial\nuse typechecking\npartial p_1 {\npermission view: doc = nil\n}\ndefinition doc {\n...p_1\n}")
	f.Add("caveat foo(a string) { a == r'\\' || a == b\"\\\"}\" || a == '''\n}''' }")
	f.Add("definition doc { permission a_b = ((a + b).any(c) -> \n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := schema.Parse(text)
		if err == nil {
			roundTrip(t, s)
			return
		}
		e := err.(*schema.Error)
		lines := strings.Split(text, "\n")
		if e.Message == "" || cmp.Or(cmp.Compare(e.Line, e.EndLine), cmp.Compare(e.Column, e.EndColumn)) > 0 ||
			e.EndLine >= len(lines) || e.EndColumn > len(lines[e.EndLine]) {
			t.Fatalf("%+v for %q", e, text)
		}
	})
}
