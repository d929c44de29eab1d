package query

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// ShapeRows is a ShapeCondition with its parameters. It is immutable and safe for
// concurrent use.
type ShapeRows struct {
	*ShapeCondition
	args  [][]byte
	where outcome
}

// Bind gives the parameters their values, which are read as Postgres reads a text
// constant in their place. The error is a *ParamError that names the parameter,
// such as $1.
func (c *ShapeCondition) Bind(params []string) (*ShapeRows, error) {
	if c.account {
		return nil, errors.New("the rows of this table are those of an account, and none is given")
	}
	return c.bind(params)
}

// BindAccount is Bind for a ShapeText with an Account.
func (c *ShapeCondition) BindAccount(account string, params []string) (*ShapeRows, error) {
	if !c.account {
		return nil, errors.New("this condition is not about an account")
	}
	return c.bind(append(slices.Clone(params), account))
}

func (c *ShapeCondition) bind(params []string) (*ShapeRows, error) {
	switch {
	case len(params) < len(c.params):
		return nil, &ParamError{Name: c.params[len(params)].Name, Reason: "is missing"}
	case len(params) > len(c.params):
		return nil, fmt.Errorf("there are %d values for %d parameters", len(params), len(c.params))
	}
	r := &ShapeRows{ShapeCondition: c, args: make([][]byte, len(params))}
	args := make([]argument, len(params))
	for i := range params {
		p := &c.params[i]
		canonical, arg, err := p.parse(p.loosened(params[i]))
		if err != nil {
			return nil, err
		}
		args[i], r.args[i] = arg, []byte(canonical)
	}
	r.where = c.where.fold(args)
	return r, nil
}

// loosened drops from a moment what Postgres ignores when it reads a date or a
// timestamp without time zone: programs write moments with a zone.
func (p *Param) loosened(text string) string {
	if p.Array || p.base != oidDate && p.base != oidTimestamp {
		return text
	}
	m := timestampForm.FindStringSubmatch(text)
	if m == nil || m[2] == "" {
		return text
	}
	if _, _, reason := zoneOffset(m[3]); reason != "" {
		return text
	}
	if p.base == oidDate {
		return m[1]
	}
	return m[1] + "T" + m[2]
}

// Pass says whether the condition is true of a row of one of the Tables. It is
// unknown where a column is, or has another type than it had, or, unless the
// condition is Decided, where only Postgres can tell: EvalSQL asks it.
func (r *ShapeRows) Pass(rel *catalog.Relation, row change.Row) match.Verdict {
	return r.where.pass(rel, row)
}

// Decided reports whether Pass alone says of every row of which all columns are
// known what Postgres says.
func (r *ShapeRows) Decided() bool { return r.where.decided() }

// maxBranches bounds into how many dependencies an OR is taken apart.
const maxBranches = 16

// Deps returns what a row has to pass so that the condition may be true of it: a
// row that passes none of the dependencies is not in the shape. There is none if
// no row can be.
func (r *ShapeRows) Deps() []match.Dependency {
	common := r.where.find()
	if common.impossible {
		return nil
	}
	branches := []finding{common}
	if !slices.ContainsFunc(common.tests, func(t columnTest) bool { return t.test.Op == match.Equal || t.test.Op == match.In }) {
		if found := r.where.branches(); found != nil {
			branches = found
		}
	}
	var out []match.Dependency
	for _, b := range branches {
		d := match.Dependency{Reads: r.reads}
		for _, t := range append(slices.Clone(common.tests), b.tests...) {
			addTest(&d.Tests, t.test)
		}
		out = append(out, d)
	}
	return out
}

// branches returns the alternatives of which each says something that a row can
// be found by, or nil.
func (o outcome) branches() []finding {
	switch o.kind {
	case condAnd:
		for _, arg := range o.args {
			if found := arg.branches(); found != nil {
				return found
			}
		}
	case condIsTrue:
		return o.args[0].branches()
	case condOr:
		var out []finding
		for _, arg := range o.args {
			f := arg.find()
			if f.impossible {
				continue
			}
			if len(f.tests) == 0 || len(out) == maxBranches {
				return nil
			}
			out = append(out, f)
		}
		return out
	}
	return nil
}

// SQL returns the whole condition as SQL for a statement that reads From() without
// an alias, with the values of $1 and so on in text form, and their types. What
// the statement says of a row is what EvalSQL does if both sessions have the
// ShapeSettings.
func (r *ShapeRows) SQL() (where string, args [][]byte, types []uint32) {
	return r.sql, r.args, r.types()
}

// SQLAfter is SQL with the parameters numbered from n+1 on, for a statement that
// has n others.
func (r *ShapeRows) SQLAfter(n int) (where string, args [][]byte, types []uint32) {
	var b strings.Builder
	from := 0
	for l := newLexer(r.sql); ; {
		t, ok := l.next()
		if !ok {
			break
		}
		if t.kind == tokenPosition {
			number, _ := strconv.Atoi(r.sql[t.pos+1 : t.end])
			b.WriteString(r.sql[from:t.pos] + "$" + strconv.Itoa(number+n))
			from = t.end
		}
	}
	return b.String() + r.sql[from:], r.args, r.types()
}

func (c *ShapeCondition) types() []uint32 {
	out := make([]uint32, len(c.params))
	for i, p := range c.params {
		out[i] = uint32(p.Type)
	}
	return out
}
