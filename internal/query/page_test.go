package query

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// TestPages runs testdata/pages.txt: which endpoints have an edge, follow their
// rows and are batched. The form is that of TestShapes; the commands are
//
//	schema         run the input
//	role [name]    analyse as this role from now on
//	page [query]   analyse the input as an endpoint and bind the query string
func TestPages(t *testing.T) {
	const path = "testdata/pages.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db := pgtest.DB(t)
	db.Exec(t, "CREATE PUBLICATION tidemark FOR ALL TABLES")
	conn := db.Conn(t)
	var out strings.Builder
	for _, b := range parseScript(t, string(text)) {
		command, arg, _ := strings.Cut(b.command, " ")
		var got string
		switch command {
		case "schema":
			db.Exec(t, b.input)
		case "role":
			if _, err := conn.Exec(context.Background(), "SET ROLE "+cmp.Or(arg, "none")); err != nil {
				t.Fatal(err)
			}
		case "page":
			e, problems := endpointOf(t, conn, b.input)
			if e == nil {
				t.Fatalf("%s: %v", b.input, problems)
			}
			values, err := url.ParseQuery(arg)
			if err != nil {
				t.Fatal(err)
			}
			bound, err := e.Bind(nil, values)
			if err != nil {
				t.Fatal(err)
			}
			got = describePages(bound)
		default:
			t.Fatalf("unknown command %q", b.command)
		}
		if got != b.want && !*rewrite {
			t.Errorf("%s\n%s\ngot:\n%s\nwant:\n%s", b.command, b.input, got, b.want)
		}
		fmt.Fprintf(&out, "%s%s\n%s----\n%s\n", b.comment, b.command, b.input, got)
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func describePages(b *Binding) string {
	var out strings.Builder
	e := b.Endpoint
	if p := e.pages.edge; p != nil {
		fmt.Fprintf(&out, "edge of %s: %s; %d not null\n", e.Reads[p.ref].Name, describeOrder(p.cols), p.notNull)
	}
	if bound := b.bound(); bound != nil {
		switch p := bound.Plan; {
		case p.Aggregates != nil:
			out.WriteString("followed: aggregates")
			for _, a := range p.Aggregates {
				fmt.Fprintf(&out, " %s=%s(%s)", a.Name, [...]string{patch.CountRows: "rows", patch.Count: "count", patch.Sum: "sum"}[a.Kind], a.Column)
				if a.Scale > 0 {
					fmt.Fprintf(&out, " with %d places", a.Scale)
				}
			}
			out.WriteString("\n")
		case len(p.Order) == 0:
			fmt.Fprintf(&out, "followed: lookup, %d tests\n", len(bound.Tests))
		default:
			fmt.Fprintf(&out, "followed: list by %s, %d tests, offset %d limit %d slack %d\n",
				describeOrder(p.Order), len(bound.Tests), bound.Offset, bound.Limit, bound.Slack)
		}
	} else if e.pages.follow != nil {
		out.WriteString("not followed with these parameters\n")
	}
	if len(e.Params) > 0 && e.Statement(b.Variant(), true) == "" {
		out.WriteString("not batched\n")
	}
	return out.String()
}

func describeOrder(cols []match.OrderColumn) string {
	var parts []string
	for _, c := range cols {
		s := c.Column
		if c.Desc {
			s += " desc"
		}
		if c.NullsFirst != c.Desc {
			s += map[bool]string{true: " nulls first", false: " nulls last"}[c.NullsFirst]
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}
