package query

import (
	"net/url"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// Binding is an endpoint with its parameters: what one answer is the answer to.
// It is immutable.
type Binding struct {
	Endpoint *Endpoint
	// Key is the canonical URI of the answer, "/v1/users/42/orders?limit=5".
	// Binding what the Key says yields the same Key.
	Key string
	// Args are the values of $1, $2 ... in text form; nil is NULL.
	Args [][]byte

	args []argument
}

// Bind checks and canonicalises parameters: path holds those of the path,
// decoded, and query those of the query string. A parameter that is absent is
// NULL; an empty one is an empty text. The error is a *ParamError.
func (e *Endpoint) Bind(path map[string]string, query url.Values) (*Binding, error) {
	b := &Binding{Endpoint: e, Args: make([][]byte, len(e.Params)), args: make([]argument, len(e.Params))}
	for name, values := range query {
		i, ok := e.byName[name]
		switch {
		case !ok:
			return nil, &ParamError{Name: name, Reason: "is not a parameter of this endpoint"}
		case e.Params[i].InPath:
			return nil, &ParamError{Name: name, Reason: "belongs to the path, not to the query string"}
		case len(values) != 1:
			return nil, &ParamError{Name: name, Reason: "is given more than once"}
		}
	}
	key := make([]byte, 0, 64)
	canonical := make([]string, len(e.Params))
	for i := range e.Params {
		p := &e.Params[i]
		var text string
		var given bool
		if p.InPath {
			text, given = path[p.Name]
		} else if values := query[p.Name]; len(values) == 1 {
			text, given = values[0], true
		}
		if !given {
			b.args[i].null = true
			continue
		}
		var err error
		if canonical[i], b.args[i], err = p.parse(text); err != nil {
			return nil, err
		}
		b.Args[i] = []byte(b.args[i].text)
	}
	for _, s := range e.Route.Segments {
		key = append(key, '/')
		if s.Param == "" {
			key = appendEscaped(key, s.Literal)
		} else if i := e.byName[s.Param]; b.args[i].null {
			return nil, &ParamError{Name: s.Param, Reason: "is missing from the path"}
		} else {
			key = appendEscaped(key, canonical[i])
		}
	}
	if len(e.Route.Segments) == 0 {
		key = append(key, '/')
	}
	sep := byte('?')
	for _, i := range e.order {
		if b.args[i].null {
			continue
		}
		key = append(key, sep)
		key = appendEscaped(key, e.Params[i].Name)
		key = append(key, '=')
		key = appendEscaped(key, canonical[i])
		sep = '&'
	}
	b.Key = string(key)
	return b, nil
}

// queryOrder returns the parameters of the query string in the order of a Key.
func queryOrder(params []Param) []int {
	var out []int
	for i, p := range params {
		if !p.InPath {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(i, j int) int {
		if params[i].Name < params[j].Name {
			return -1
		}
		return 1
	})
	return out
}

// Deps computes which rows can touch the answer: one dependency per reference
// to a table, except for those of which no row can. It is not cheap enough for
// every request; an answer that is stored needs it once.
func (b *Binding) Deps() []match.Dependency {
	v := b.verdict()
	return v.dependencies(b.Endpoint)
}

// verdict is what the clauses say of each reference for one set of parameters.
type verdict struct {
	tests      [][]match.Test
	impossible []bool // no row takes part
	exact      []bool // of the columns in Reads.Tested, the tests say all there is
	// whole says that the tests say all that the clauses do.
	whole bool
}

func (v *verdict) dependencies(e *Endpoint) []match.Dependency {
	out := make([]match.Dependency, 0, len(e.Reads))
	for i, r := range e.Reads {
		if !v.impossible[i] {
			out = append(out, match.Dependency{Reads: r, Tests: v.tests[i], Exact: v.exact[i]})
		}
	}
	return out
}

// verdict folds every clause with the parameters.
func (b *Binding) verdict() verdict {
	e := b.Endpoint
	n := len(e.Reads)
	v := verdict{tests: make([][]match.Test, n), impossible: make([]bool, n), exact: make([]bool, n), whole: true}
	for i, r := range e.Reads {
		v.exact[i] = len(r.Tested) > 0
	}
	var joins, apart []*condition
	for _, f := range e.filters {
		for _, p := range f.parts {
			o := p.cond.fold(b.args)
			exact := o.exact()
			v.whole = v.whole && exact
			if p.exact >= 0 && !exact {
				v.exact[p.exact] = false
			}
			found := o.find()
			if found.impossible {
				for _, i := range f.below {
					v.impossible[i] = true
				}
				continue
			}
			for _, t := range found.tests {
				addTest(&v.tests[t.col.ref], t.test)
			}
			joins = append(joins, found.joins...)
			apart = append(apart, found.apart...)
		}
	}
	spread(v.tests, joins, apart)
	return v
}

// entire returns the tests of the only reference of an endpoint, if they are
// true of a row if and only if every clause is.
func (b *Binding) entire() ([]match.Test, bool) {
	v := b.verdict()
	if len(v.tests) != 1 || !v.whole || v.impossible[0] {
		return nil, false
	}
	return v.tests[0], true
}
