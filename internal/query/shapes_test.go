package query

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata yield into them")

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestShapes runs the scripts in testdata. A script is a list of blocks:
//
//	command [argument]
//	input
//	----
//	expected output
//
// with a blank line after each. The commands are
//
//	schema           run the input
//	role [name]      analyse as this role from now on
//	analyze [query]  analyse the input as an endpoint, bind the query string,
//	                 and explain; or print the problems
func TestShapes(t *testing.T) {
	for _, name := range []string{"reads", "refusals", "rows", "keys", "groups", "security", "json17"} {
		t.Run(name, func(t *testing.T) {
			path := "testdata/" + name + ".txt"
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			db := pgtest.DB(t)
			db.Exec(t, "CREATE PUBLICATION tidemark FOR ALL TABLES")
			s := &script{db: db, conn: db.Conn(t)}
			if err := s.conn.QueryRow(context.Background(), "SELECT current_setting('server_version_num')::int").Scan(&s.version); err != nil {
				t.Fatal(err)
			}
			if name == "json17" && s.version < 170000 {
				t.Skip("JSON_TABLE and what comes with it need Postgres 17 or later: statements with it are not checked here")
			}
			var out strings.Builder
			for _, b := range parseScript(t, string(text)) {
				got := s.run(t, b)
				if s.places(got) != s.places(b.want) && !*rewrite {
					t.Errorf("%s\n%s\ngot:\n%s\nwant:\n%s", b.command, b.input, got, b.want)
				}
				fmt.Fprintf(&out, "%s%s\n%s----\n%s\n", b.comment, b.command, b.input, got)
			}
			if *rewrite {
				if err := os.WriteFile(path, []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// block is one step of a script; comment holds the lines before it.
type block struct{ comment, command, input, want string }

func parseScript(t *testing.T, text string) []block {
	t.Helper()
	var blocks []block
	var b block
	const (
		outside = iota
		input
		want
	)
	state := outside
	for _, line := range strings.SplitAfter(text, "\n") {
		switch trimmed := strings.TrimSpace(line); {
		case state == outside && (trimmed == "" || strings.HasPrefix(trimmed, "#")):
			b.comment += line
		case state == outside:
			b.command = trimmed
			state = input
		case state == input && trimmed == "----":
			state = want
		case state == input:
			b.input += line
		case trimmed == "":
			blocks = append(blocks, b)
			b, state = block{}, outside
		default:
			b.want += strings.TrimRight(line, "\n") + "\n"
		}
	}
	switch state {
	case want:
		blocks = append(blocks, b)
	case input:
		t.Fatalf("the script ends in the block %q", b.command)
	}
	return blocks
}

type script struct {
	db   *pgtest.Database
	conn *pgx.Conn

	version int
}

// places removes positions from problems where the server does not tell them:
// from Postgres 17 on, trees hold none, and what has no name has no place.
func (s *script) places(out string) string {
	if s.version < 170000 {
		return out
	}
	var lines []string
	for _, line := range strings.Split(out, "\n") {
		if line = position.ReplaceAllString(line, ""); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

var position = regexp.MustCompile(`^[0-9]+:[0-9]+ `)

func (s *script) run(t *testing.T, b block) string {
	command, arg, _ := strings.Cut(b.command, " ")
	switch command {
	case "schema":
		s.db.Exec(t, b.input)
		return ""
	case "role":
		if arg == "" {
			arg = "none"
		}
		if _, err := s.conn.Exec(context.Background(), "SET ROLE "+arg); err != nil {
			t.Fatal(err)
		}
		return ""
	case "analyze":
		return s.analyze(t, arg, b.input)
	}
	t.Fatalf("unknown command %q", command)
	return ""
}

// endpointOf analyses a statement whose parameters all come from the query
// string. Lines of the statement that begin with -- join the header.
func endpointOf(t testing.TB, conn *pgx.Conn, sql string) (*Endpoint, []Problem) {
	t.Helper()
	f, problems := ParseFile("test.sql", []byte("-- GET /test\n"+sql))
	if problems != nil {
		return nil, problems
	}
	e, problems, err := Analyze(context.Background(), conn, f, Options{Publication: "tidemark"})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return e, problems
}

func (s *script) analyze(t *testing.T, query, sql string) string {
	var out strings.Builder
	e, problems := endpointOf(t, s.conn, sql)
	for _, p := range problems {
		fmt.Fprintf(&out, "%d:%d %s\n", p.Line-1, p.Column, p.Message)
	}
	if e == nil {
		return out.String()
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Bind(nil, values)
	if err != nil {
		return err.Error() + "\n"
	}
	for i, x := range e.Explain(b) {
		fmt.Fprintln(&out, x)
		if below := e.Reads[i].Tables; len(below) > 1 {
			fmt.Fprintf(&out, "  with %s\n", s.names(t, below))
		}
	}
	for _, r := range e.Reasons {
		fmt.Fprintln(&out, "volatile:", r)
	}
	if out.Len() == 0 {
		out.WriteString("reads nothing\n")
	}
	// What is analysed has to be what is run.
	args := make([]any, len(b.Args))
	for i, a := range b.Args {
		if a != nil {
			args[i] = string(a)
		}
	}
	if _, err := s.conn.Exec(context.Background(), e.FillSQL(), append([]any{pgx.QueryExecModeExec}, args...)...); err != nil {
		fmt.Fprintf(&out, "fill: %v\n", err)
	}
	return out.String()
}

func (s *script) names(t *testing.T, oids []catalog.OID) string {
	var names []string
	for _, oid := range oids[1:] {
		var name string
		if err := s.conn.QueryRow(context.Background(), "SELECT $1::oid::regclass::text", uint32(oid)).Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
