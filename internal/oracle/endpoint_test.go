package oracle

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// endpoint is one .sql file, and the few sets of parameters that it is asked
// with.
type endpoint struct {
	name   string
	route  string // "/e1/{k}"
	header string // further lines
	sql    string // with :name
	one    bool
	// unordered says that the rows have no order: they are compared as a set with
	// repetitions.
	unordered bool
	reads     []string // the tables, for endpoints of a scenario
	cell      cell     // what it was composed from, or nil
	params    []*param
	asked     []*request
	columns   []string // of its rows, where they are followed
	account   string   // the one of columns that says whose a row is
	stormed   bool     // all of its answers are followed
}

type param struct {
	name   string
	inPath bool
	absent int // percent
	value  func(*rand.Rand) string
}

// request is an endpoint with its parameters.
type request struct {
	ep   *endpoint
	path string    // with the query string, as sent
	args []*string // of $1, $2 ..., nil for NULL
}

func (q *request) String() string {
	args := make([]string, len(q.args))
	for i, a := range q.args {
		args[i] = fmt.Sprintf("$%d = NULL", i+1)
		if a != nil {
			args[i] = fmt.Sprintf("$%d = %q", i+1, *a)
		}
	}
	sql, _ := q.ep.numbered()
	return fmt.Sprintf("GET %s\n%s\n%s", q.path, sql, strings.Join(args, ", "))
}

// namedParam finds :name, and not ::type. The SQL that is made here has no such
// thing inside constants.
var namedParam = regexp.MustCompile(`(^|[^:]):([a-z]\w*)`)

// numbered returns the SQL with $1, $2 ... and the names in that order.
func (e *endpoint) numbered() (string, []string) {
	var names []string
	sql := namedParam.ReplaceAllStringFunc(e.sql, func(m string) string {
		before, name, _ := strings.Cut(m, ":")
		for i, n := range names {
			if n == name {
				return fmt.Sprintf("%s$%d", before, i+1)
			}
		}
		names = append(names, name)
		return fmt.Sprintf("%s$%d", before, len(names))
	})
	return sql, names
}

const (
	// perEndpoint is how many sets of parameters each endpoint is asked with.
	perEndpoint = 7
	// longestPath keeps below the longest that is served.
	longestPath = 7 << 10
)

func (e *endpoint) ask(r *rand.Rand) {
	_, names := e.numbered()
	// A shape may have thought better of a part of its statement.
	e.params = slices.DeleteFunc(e.params, func(p *param) bool { return !slices.Contains(names, p.name) })
	byPath := map[string]bool{}
	for range perEndpoint {
		values := map[string]*string{}
		path, query := e.route, url.Values{}
		for _, p := range e.params {
			if !p.inPath && chance(r, p.absent) {
				continue
			}
			v := p.value(r)
			values[p.name] = &v
			if p.inPath {
				path = strings.Replace(path, "{"+p.name+"}", url.PathEscape(v), 1)
			} else {
				query.Set(p.name, v)
			}
		}
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		if byPath[path] || len(path) > longestPath {
			continue
		}
		byPath[path] = true
		q := &request{ep: e, path: path}
		for _, n := range names {
			q.args = append(q.args, values[n])
		}
		e.asked = append(e.asked, q)
	}
}

// writeEndpoints writes the files that tidemark reads.
func writeEndpoints(dir string, eps []*endpoint) error {
	for _, e := range eps {
		text := "-- GET " + e.route + "\n" + e.header
		if e.one {
			text += "-- result: one\n"
		}
		if err := os.WriteFile(filepath.Join(dir, e.name+".sql"), []byte(text+e.sql+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// builder makes one endpoint.
type builder struct {
	*rand.Rand
	s *schema
	e *endpoint
}

// randomEndpoints returns endpoints of some of the shapes, and of those that
// every run has.
func randomEndpoints(r *rand.Rand, s *schema, n int) []*endpoint {
	var eps []*endpoint
	add := func(shape func(*builder) string) {
		e := &endpoint{name: fmt.Sprintf("e%d", len(eps))}
		b := &builder{r, s, e}
		if e.sql = shape(b); e.sql == "" {
			return
		}
		if e.route == "" {
			e.route = "/" + e.name
		}
		if chance(r, 15) {
			e.header += pick(r, []string{"-- ttl: 150ms\n", "-- ttl: 1s\n"})
		}
		e.ask(r)
		eps = append(eps, e)
	}
	// By key and by condition are what most applications ask.
	add(byKey)
	add(byKey)
	add(list)
	add(list)
	for _, i := range r.Perm(len(shapes))[:n] {
		add(shapes[i])
	}
	return eps
}

// param registers a parameter that takes values of a kind.
func (b *builder) param(k *kind) string { return b.paramOf(8, k.asked) }

func (b *builder) paramOf(absent int, value func(*rand.Rand) string) string {
	p := &param{name: fmt.Sprintf("p%d", len(b.e.params)), absent: absent, value: value}
	b.e.params = append(b.e.params, p)
	return ":" + p.name
}

func (b *builder) arrayParam(k *kind) string { return b.arrayOf(k.value) }

func (b *builder) arrayOf(value func(*rand.Rand) string) string {
	return b.paramOf(5, func(r *rand.Rand) string {
		items := make([]string, r.IntN(4))
		for i := range items {
			items[i] = value(r)
		}
		return array(items)
	})
}

// relation picks what to read from.
func (b *builder) relation() *relation { return pick(b.Rand, b.s.read) }

// column picks a column that satisfies a condition, or nil.
func (b *builder) column(rel *relation, ok func(*kind) bool) *column {
	for range 20 {
		if c := pick(b.Rand, rel.cols); ok(c.kind) {
			return c
		}
	}
	return nil
}

// output lists columns, the key always among them, with an expression at times.
func (b *builder) output(rel *relation, alias string) string {
	var out []string
	if chance(b.Rand, 20) {
		return alias + ".*"
	}
	for i, c := range rel.cols {
		ref := alias + "." + c.name
		switch {
		case i < len(rel.key) || chance(b.Rand, 40):
			out = append(out, ref)
		case c.kind == kindLong:
			out = append(out, "length("+ref+") AS n"+c.name)
		case c.kind.sql == "text":
			out = append(out, "upper("+ref+`) AS "Upper `+c.name+`"`)
		case c.kind.summed:
			out = append(out, "coalesce("+ref+", 0) + 1 AS n"+c.name)
		}
	}
	b.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return strings.Join(out, ", ")
}

// order is total: it ends with the key.
func (b *builder) order(rel *relation, alias string) string {
	keys := columnNames(rel.key, alias+".")
	if c := b.column(rel, func(k *kind) bool { return k.ordered }); c != nil && chance(b.Rand, 60) {
		return " ORDER BY " + alias + "." + c.name + pick(b.Rand, []string{"", " DESC", " NULLS FIRST", " DESC NULLS LAST"}) + ", " + keys
	}
	return " ORDER BY " + keys
}

// limit returns a window, or nothing.
func (b *builder) limit() string {
	count := func(r *rand.Rand) string { return itoa(r.IntN(5)) }
	switch b.IntN(6) {
	case 0:
		return " LIMIT " + itoa(1+b.IntN(4))
	case 1:
		return " LIMIT " + b.paramOf(10, count)
	case 2:
		return " LIMIT 3 OFFSET " + b.paramOf(10, count)
	case 3:
		return " OFFSET 2 ROWS FETCH FIRST 2 ROWS ONLY"
	}
	return ""
}

// where joins one or two conditions.
func (b *builder) where(rel *relation, alias string) string {
	w := b.condition(rel, alias)
	for chance(b.Rand, 35) {
		w += pick(b.Rand, []string{" AND ", " AND ", " AND ", " OR "}) + "(" + b.condition(rel, alias) + ")"
	}
	return w
}
