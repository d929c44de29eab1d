package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `# what may be followed
tables:
  - items
  - Shop.Orders
  - '"Odd Schema"."say ""hi"""'
  - table: notes
    where: |
      deleted_at IS NULL
        AND kind <> 'x'
    columns: [id, Title, '"Mixed Case"']
    account: account_id
  - schema: app
    account: tenant
`

func describe(f *File) string {
	var b strings.Builder
	for i := range f.Rules {
		r := &f.Rules[i]
		fmt.Fprintf(&b, "%d %s where %q columns %q account %q\n", r.at.Line, r, r.Where, r.Columns, r.Account)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	f, err := Parse("live.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := `3 public.items where "" columns [] account ""
4 shop.orders where "" columns [] account ""
5 "Odd Schema"."say ""hi""" where "" columns [] account ""
6 public.notes where "deleted_at IS NULL\n  AND kind <> 'x'" columns ["id" "title" "Mixed Case"] account "account_id"
12 schema app where "" columns [] account "tenant"
`
	if diff := cmp.Diff(want, describe(f)); diff != "" {
		t.Error(diff)
	}
	for _, empty := range []string{"", "# nothing\n", "tables: []\n"} {
		if f, err := Parse("live.yaml", []byte(empty)); err != nil || len(f.Rules) != 0 {
			t.Errorf("%q: %v, %v", empty, f, err)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"not YAML", "tables: [a\n", "live.yaml:1: the file is not YAML: sequence end token ']' not found"},
		{"a list at the top", "- items\n", "live.yaml:1: want tables: with a list of tables and schemas below it"},
		{"another setting", "tables: [a]\ntabels: [b]\n", `live.yaml:2: there is no setting "tabels"; want tables`},
		{"no list", "tables: items\n", "live.yaml:1: want a list of tables and schemas below tables"},
		{"a nested list", "tables:\n  - [a]\n", "live.yaml:2: want the name of a table, or table: or schema: with what else is said of it"},
		{"an unknown field", "tables:\n  - table: a\n    filter: b\n", `live.yaml:3: a table has no "filter"; it has table, schema, where, columns, account`},
		{"neither", "tables:\n  - where: a\n", "live.yaml:2: want either table or schema"},
		{"both", "tables:\n  - table: a\n    schema: b\n", "live.yaml:2: want either table or schema"},
		{"no text", "tables:\n  - table: a\n    where:\n", "live.yaml:3: where wants a text"},
		{"a schema's condition", "tables:\n  - schema: a\n    where: b\n", "live.yaml:3: a condition belongs to a table, not to a schema"},
		{"a schema's columns", "tables:\n  - schema: a\n    columns: [b]\n", "live.yaml:3: columns belong to a table, not to a schema"},
		{"no columns", "tables:\n  - table: a\n    columns: []\n", "live.yaml:3: columns wants a list of names"},
		{"a column twice", "tables:\n  - table: a\n    columns: [b, B]\n", "live.yaml:3: column b is listed twice"},
		{"a column of a column", "tables:\n  - table: a\n    columns: [b.c]\n", `live.yaml:3: "b.c" is not the name of a column`},
		{"a table twice", "tables:\n  - a\n  - b\n  - table: public.A\n    where: x\n", "live.yaml:4: public.a is listed in line 2 already"},
		{"a schema twice", "tables:\n  - schema: a\n  - schema: A\n", "live.yaml:3: schema a is listed in line 2 already"},
		{"three parts", "tables: [a.b.c]\n", `live.yaml:1: "a.b.c" has too many parts; want name or schema.name`},
		{"a space", "tables: [my table]\n", `live.yaml:1: "my table" is not a name; one with other characters than letters, digits and _ needs double quotes`},
		{"an open quote", "tables: ['\"a']\n", `live.yaml:1: "\"a" is not a name: a double quote is missing`},
		{"an empty part", "tables: [a.]\n", `live.yaml:1: "a." is not a name: a part of it is empty`},
		{"a digit", "tables: [1a]\n", `live.yaml:1: "1a" is not a name: it begins with a digit, so it needs double quotes`},
		{"tidemark's own", "tables: [tidemark.relationships]\n", "live.yaml:1: the tables of schema tidemark cannot be followed"},
		{"Postgres's own", "tables:\n  - schema: pg_catalog\n", "live.yaml:2: the tables of schema pg_catalog cannot be followed"},
		{"a second document", "tables: [a]\n---\ntables: [b]\n", "live.yaml:3: there is a second document; want one"},
		{"several", "tables: [1, a b]\n", "live.yaml:1: \"1\" is not a name: it begins with a digit, so it needs double quotes\n" +
			`live.yaml:1: "a b" is not a name; one with other characters than letters, digits and _ needs double quotes`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("live.yaml", []byte(tt.text))
			var problems Problems
			if !errors.As(err, &problems) || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "live.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(path); err != nil || f.Path != path || len(f.Rules) != 5 {
		t.Errorf("%+v, %v", f, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("tables: &a [*a]\n")
	f.Add("tables:\n  - ? x\n    : y\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("f", []byte(text))
		var problems Problems
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0) {
			t.Fatalf("%v", err)
		}
		for _, p := range problems {
			if p.Line < 1 {
				t.Errorf("a problem without a line: %v", p)
			}
		}
		if err != nil {
			return
		}
		for i := range file.Rules {
			r := &file.Rules[i]
			if r.Table == "" {
				continue
			}
			// What is written as SQL means the same name again.
			if parts, err := parseName(r.String()); err != nil || parts[0] != r.Schema || parts[1] != r.Table {
				t.Errorf("%s is read as %q, %v", r, parts, err)
			}
		}
	})
}
