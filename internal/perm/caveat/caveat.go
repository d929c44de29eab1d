// Package caveat compiles and evaluates caveats: boolean CEL expressions over
// typed parameters, on which a relationship may depend.
//
// A Program is made once for each caveat of a schema and never changes: any
// number of goroutines may evaluate it. Its parameters get values from JSON: what
// is stored with a relationship, which wins, and what a request says. An
// evaluation that lacks values it cannot do without says which.
//
// Expressions come from whoever writes schemas, so evaluation is bounded. A short
// expression without macros, which loop, takes time in proportion to its length
// times that of the context; every other is stopped at a limit.
//
// The package is pure.
package caveat

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const (
	// costLimit is in CEL's units, about one for each step and each ten characters
	// or elements that a function looks at: some milliseconds.
	costLimit = 200_000
	// regexLimit bounds the size of a compiled regular expression, which a context
	// may bring.
	regexLimit = 500
	// regexCost is for each byte that a regular expression looks at.
	regexCost = 4
	// maxNodes and maxAdditions are those of an expression whose cost need not be
	// counted. Each addition may copy all texts before it.
	maxNodes     = 500
	maxAdditions = 8
)

// A Parameter of a caveat.
type Parameter struct {
	Name string
	Type string // as ParseType reads it
}

// Outcome is what an evaluation says.
type Outcome int8

// The outcomes.
const (
	False Outcome = iota
	True
	Missing // values are needed that nobody gave
)

// A Result of an evaluation.
type Result struct {
	Outcome
	Fields []string // of Missing: the parameters that would decide it, in the order of their declaration
}

// A Program is a compiled caveat.
type Program struct {
	name       string
	expression string
	parameters []parameter
	program    cel.Program
	scopes     sync.Pool // of *scope
}

type parameter struct {
	name    string
	typ     *Type
	missing *types.Unknown // its value while there is none; the id is the position + 1
}

// CompileError says what is wrong with a caveat.
type CompileError struct {
	Caveat  string
	Offset  int // in bytes from the start of the expression; -1: not in the expression
	Message string
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("caveat %s: %s", e.Caveat, e.Message)
}

// ParameterError says that a context does not fit a caveat's parameters.
type ParameterError struct {
	Caveat    string
	Parameter string
	Type      string // declared; empty when there is no such parameter
	Message   string
}

func (e *ParameterError) Error() string {
	return fmt.Sprintf("caveat %s, parameter %s: %s", e.Caveat, e.Parameter, e.Message)
}

// EvaluationError says that an expression has no value, such as for a key that
// a map does not have.
type EvaluationError struct {
	Caveat string
	Err    error
}

func (e *EvaluationError) Error() string {
	return fmt.Sprintf("caveat %s cannot be evaluated: %v", e.Caveat, e.Err)
}

func (e *EvaluationError) Unwrap() error { return e.Err }

// Compile makes a program. Every parameter must be used, and there must be one.
// The error is a *CompileError.
func Compile(name string, parameters []Parameter, expression string) (*Program, error) {
	p := &Program{name: name, expression: expression}
	fail := func(offset int, format string, args ...any) (*Program, error) {
		return nil, &CompileError{Caveat: name, Offset: offset, Message: fmt.Sprintf(format, args...)}
	}
	if len(parameters) == 0 {
		return fail(-1, "a caveat has at least one parameter")
	}
	env, err := environment()
	if err != nil {
		return fail(-1, "%v", err)
	}
	var variables []cel.EnvOption
	seen := map[string]bool{}
	for i, d := range parameters {
		if seen[d.Name] {
			return fail(-1, "the parameter %s is declared twice", d.Name)
		}
		seen[d.Name] = true
		t, err := ParseType(d.Type)
		if err != nil {
			return fail(-1, "parameter %s: %v", d.Name, err)
		}
		unknown := types.NewUnknown(int64(i+1), types.NewAttributeTrail(d.Name))
		p.parameters = append(p.parameters, parameter{name: d.Name, typ: t, missing: unknown})
		variables = append(variables, cel.Variable(d.Name, t.cel()))
	}
	if env, err = env.Extend(variables...); err != nil {
		return fail(-1, "%v", err)
	}
	checked, issues := env.Compile(expression)
	if found := issues.Errors(); len(found) > 0 {
		at := found[0].Location
		return fail(offsetOf(expression, at.Line(), at.Column()), "%s", found[0].Message)
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return fail(0, "the expression gives %s, not bool", cel.FormatCELType(checked.OutputType()))
	}
	used, costly := survey(checked.NativeRep().Expr())
	for _, d := range p.parameters {
		if !used[d.name] {
			return fail(-1, "the parameter %s is not used", d.name)
		}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if costly {
		options = append(options, cel.CostTracking(searches{}), cel.CostLimit(costLimit))
	}
	if p.program, err = env.Program(checked, options...); err != nil {
		return fail(0, "%v", err)
	}
	p.scopes.New = func() any { return &scope{p: p, values: make([]ref.Val, len(p.parameters))} }
	return p, nil
}

// Name returns the caveat's name.
func (p *Program) Name() string { return p.name }

// Expression returns the text that was compiled.
func (p *Program) Expression() string { return p.expression }

// offsetOf turns CEL's position, a line from 1 and a column of characters from
// 0, into bytes.
func offsetOf(text string, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(text[offset:], '\n')
		if i < 0 {
			return len(text)
		}
		offset += i + 1
	}
	for i := range text[offset:] {
		if column <= 0 {
			return offset + i
		}
		column--
	}
	return len(text)
}

// searches is the cost of regular expressions, which CEL takes to be less than it
// is: what counts is their compiled size, which the text does not show.
type searches struct{}

// CallCost implements cost.ActualCostEstimator.
func (searches) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	if function != overloads.Matches || len(args) == 0 {
		return nil
	}
	text, ok := args[0].(types.String)
	if !ok {
		return nil
	}
	cost := 1 + regexCost*uint64(len(text))
	return &cost
}

// survey finds the names that an expression refers to outside the scopes of its
// macros' own variables, and whether its cost has to be counted.
func survey(e ast.Expr) (used map[string]bool, costly bool) {
	used = map[string]bool{}
	nodes, additions := 0, 0
	var walk func(e ast.Expr, local []string)
	walk = func(e ast.Expr, local []string) {
		nodes++
		switch e.Kind() {
		case ast.IdentKind:
			name := strings.TrimPrefix(e.AsIdent(), ".")
			for _, l := range local {
				if l == name && name == e.AsIdent() {
					return
				}
			}
			used[name] = true
		case ast.SelectKind:
			walk(e.AsSelect().Operand(), local)
		case ast.CallKind:
			call := e.AsCall()
			switch call.FunctionName() {
			case operators.Add:
				additions++
			case overloads.Matches:
				costly = true
			}
			if call.IsMemberFunction() {
				walk(call.Target(), local)
			}
			for _, a := range call.Args() {
				walk(a, local)
			}
		case ast.ListKind:
			for _, item := range e.AsList().Elements() {
				walk(item, local)
			}
		case ast.MapKind:
			for _, entry := range e.AsMap().Entries() {
				walk(entry.AsMapEntry().Key(), local)
				walk(entry.AsMapEntry().Value(), local)
			}
		case ast.ComprehensionKind:
			costly = true
			c := e.AsComprehension()
			walk(c.IterRange(), local)
			walk(c.AccuInit(), local)
			result := append(local[:len(local):len(local)], c.AccuVar())
			inner := append(result[:len(result):len(result)], c.IterVar())
			if c.HasIterVar2() {
				inner = append(inner, c.IterVar2())
			}
			walk(c.LoopCondition(), inner)
			walk(c.LoopStep(), inner)
			walk(c.Result(), result)
		}
	}
	walk(e, nil)
	return used, costly || nodes > maxNodes || additions > maxAdditions
}
