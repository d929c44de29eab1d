package mapping

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/perm/caveat"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

// Check says where the rules do not fit a schema: they name what it does not
// have, or a relation does not take their subjects, caveat or expiration.
func (m *Mapping) Check(s *schema.Schema) Problems {
	var problems Problems
	for _, r := range m.Rules {
		add := func(at yamldoc.Position, err error) {
			problems = append(problems, query.Problem{File: m.Path, Line: at.Line, Column: at.Column, Message: err.Error()})
		}
		if err := s.Allowed(r.example()); err != nil {
			add(yamldoc.Position{Line: r.Line, Column: r.Column}, err)
			continue
		}
		if r.caveat == "" {
			continue
		}
		c := s.Caveat(r.caveat)
		if c == nil || c.Program == nil {
			add(r.caveatAt, fmt.Errorf("the schema has no caveat %s", r.caveat))
			continue
		}
		for _, e := range r.context {
			if err := e.fits(c.Program); err != nil {
				add(e.at, err)
			}
		}
	}
	return problems
}

// fits says why a parameter of the context cannot be the caveat's.
func (e *entry) fits(p *caveat.Program) error {
	value := any("") // stands for what a column will have
	if e.value == nil {
		context, err := tuple.DecodeContext("{" + jsonString(e.name) + ":" + e.constant + "}")
		if err != nil {
			return err
		}
		value = context[e.name]
	}
	err := p.Check(map[string]any{e.name: value})
	var pe *caveat.ParameterError
	if e.value != nil && errors.As(err, &pe) && pe.Type != "" {
		return nil // what the column will have is not known
	}
	return err
}
