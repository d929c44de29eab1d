package caveat

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Check says why a context cannot be stored with a relationship: a name that is
// no parameter, or a value of another type. The error is a *ParameterError.
func (p *Program) Check(context map[string]any) error {
	if err := p.unknownName(context); err != nil {
		return err
	}
	for i := range p.parameters {
		if value, ok := context[p.parameters[i].name]; ok {
			if _, err := p.convert(i, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// unknownName finds the first name, in alphabetical order, that is no parameter.
func (p *Program) unknownName(context map[string]any) error {
	unknown := ""
	for name := range context {
		if p.find(name) < 0 && (unknown == "" || name < unknown) {
			unknown = name
		}
	}
	if unknown == "" {
		return nil
	}
	return &ParameterError{Caveat: p.name, Parameter: unknown, Message: "the caveat has no such parameter"}
}

func (p *Program) find(name string) int {
	for i := range p.parameters {
		if p.parameters[i].name == name {
			return i
		}
	}
	return -1
}

func (p *Program) convert(i int, value any) (ref.Val, error) {
	d := &p.parameters[i]
	v, err := d.typ.convert(value)
	if err != nil {
		return nil, &ParameterError{Caveat: p.name, Parameter: d.name, Type: d.typ.String(), Message: err.Error()}
	}
	return v, nil
}

// Eval evaluates the caveat with what is stored with a relationship and what a
// request says, both as JSON decodes. A stored value wins. Names that are no
// parameters are passed over, since one request may meet many caveats.
//
// The error is a *ParameterError or an *EvaluationError.
func (p *Program) Eval(stored, request map[string]any) (Result, error) {
	s := p.scopes.Get().(*scope)
	defer func() {
		clear(s.values)
		p.scopes.Put(s)
	}()
	for i := range p.parameters {
		name := p.parameters[i].name
		value, ok := stored[name]
		if !ok {
			value, ok = request[name]
		}
		if !ok {
			s.values[i] = p.parameters[i].missing
			continue
		}
		v, err := p.convert(i, value)
		if err != nil {
			return Result{}, err
		}
		s.values[i] = v
	}
	value, _, err := p.program.Eval(s)
	if err != nil {
		return Result{}, &EvaluationError{Caveat: p.name, Err: err}
	}
	switch v := value.(type) {
	case types.Bool:
		if v {
			return Result{Outcome: True}, nil
		}
		return Result{Outcome: False}, nil
	case *types.Unknown:
		return Result{Outcome: Missing, Fields: p.fields(v)}, nil
	}
	return Result{}, &EvaluationError{Caveat: p.name, Err: fmt.Errorf("it gives %s, not bool", value.Type().TypeName())}
}

// fields returns the parameters that an unknown value came from.
func (p *Program) fields(u *types.Unknown) []string {
	var names []string
	for i := range p.parameters {
		if u.Contains(p.parameters[i].missing) {
			names = append(names, p.parameters[i].name)
		}
	}
	return names
}

// A scope holds the values of the parameters for one evaluation.
type scope struct {
	p      *Program
	values []ref.Val
}

// ResolveName implements cel.Activation.
func (s *scope) ResolveName(name string) (any, bool) {
	i := s.p.find(name)
	if i < 0 {
		return nil, false
	}
	return s.values[i], true
}

// Parent implements cel.Activation.
func (s *scope) Parent() cel.Activation { return nil }
