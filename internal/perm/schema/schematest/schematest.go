// Package schematest makes random schemas for tests: of everything that the
// language has, written in all the ways in which it may be written.
package schematest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// Sample is a random schema and what it means.
type Sample struct {
	Text        string
	Relations   map[schema.Pair][]schema.AllowedType
	Permissions map[schema.Pair]schema.Expr
	Caveats     []string
}

// Caveats that samples use, by name. Each has parameters of other types.
var Caveats = map[string]string{
	"at_least":      "caveat at_least(level int, minimum int) {\n  level >= minimum\n}",
	"tenant/in_net": `caveat tenant/in_net(net string, address ipaddress) { address.in_cidr(net) // "}" }` + "\n}",
	"tagged":        "caveat tagged(tags list<string>, wanted map<any>, at timestamp) {\n\t'a}' in tags && {\"x\": 1}.x == 1 &&\n\t wanted.isSubtreeOf(wanted) && at > timestamp('2020-01-01T00:00:00Z')\n}",
}

// Types that samples define.
var types = []string{"user", "group", "folder", "tenant/document", "tenant/team/robot"}

var (
	relationNames   = []string{"owner", "member", "parent", "viewer", "banned2"}
	permissionNames = []string{"view", "edit", "share_it", "delete", "any", "all"}
)

type sampler struct {
	r *rand.Rand
	b strings.Builder
	Sample
	members    map[string][]string // by type: relations first, then permissions
	relations  map[string]int      // how many of them are relations
	expiration bool
	self       bool
}

// Random makes a schema that Parse takes.
func Random(r *rand.Rand) Sample {
	s := &sampler{
		r: r, members: map[string][]string{}, relations: map[string]int{}, expiration: r.IntN(2) == 0, self: r.IntN(2) == 0,
		Sample: Sample{Relations: map[schema.Pair][]schema.AllowedType{}, Permissions: map[schema.Pair]schema.Expr{}},
	}
	for name := range Caveats {
		s.Caveats = append(s.Caveats, name)
	}
	slices.Sort(s.Caveats)
	s.Caveats = s.Caveats[:r.IntN(len(s.Caveats)+1)]
	defined := types[:2+r.IntN(len(types)-1)]
	for _, t := range defined {
		if t == "user" && r.IntN(4) > 0 {
			continue // nobody's resource, mostly
		}
		s.relations[t] = 1 + r.IntN(len(relationNames)-1)
		s.members[t] = slices.Concat(relationNames[:s.relations[t]], permissionNames[:r.IntN(len(permissionNames))])
	}
	s.top(defined)
	s.Text = s.b.String()
	return s.Sample
}

func (s *sampler) one(of ...string) string { return of[s.r.IntN(len(of))] }

func (s *sampler) top(defined []string) {
	if s.expiration {
		s.b.WriteString("use expiration" + s.one("\n", ";", " // a comment\n"))
	}
	if s.self {
		s.b.WriteString("\n  use self\n")
	}
	var blocks []func()
	for _, name := range s.Caveats {
		blocks = append(blocks, func() { s.b.WriteString(Caveats[name]) })
	}
	for _, t := range defined {
		blocks = append(blocks, func() { s.definition(t, defined) })
	}
	s.r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	for _, b := range blocks {
		s.comment("")
		b()
		s.b.WriteString(s.one("\n", "\n\n", " ", ";", ""))
	}
}

func (s *sampler) comment(indent string) {
	for range max(0, s.r.IntN(5)-2) {
		s.b.WriteString(indent + s.one(
			"// a line\n", "//no space \n", "/* short */ ", "/**\n * two\n   * lines\n */\n", "/***starred*/", "/**/", "///\n", "/** a\n\n b\n*\n* * c */",
			"/** a line that is so long that it does not stand together with the stars that enclose it */\n", "// żółw 🐢\r\n",
		))
	}
}

func (s *sampler) definition(t string, defined []string) {
	s.b.WriteString("definition" + s.space() + t + s.one(" ", "", " /* body */ ") + "{")
	for i, name := range s.members[t] {
		s.b.WriteString(s.one("\n", " ", "\n\n\t"))
		s.comment("\t")
		pair := schema.Pair{Type: t, Relation: name}
		if i < s.relations[t] {
			s.Relations[pair] = s.allowed(defined)
			s.b.WriteString("relation" + s.space() + name + s.gap() + ":" + s.gap())
			for j, a := range s.Relations[pair] {
				if j > 0 {
					s.b.WriteString(s.gap() + "|" + s.gap() + s.one("", "\n\t\t"))
				}
				text := a.String()
				if a.Relation == "" && !a.Wildcard && s.r.IntN(4) == 0 {
					text = a.Type + "#..." + strings.TrimPrefix(text, a.Type)
				}
				s.b.WriteString(text)
			}
		} else {
			s.Permissions[pair] = s.expression(t, i, 3)
			s.b.WriteString("permission" + s.space() + name + s.one("", ": user") + s.gap() + "=" + s.gap())
			s.write(s.Permissions[pair], 0)
		}
		s.b.WriteString(s.one("\n", ";", " // behind\n", " /* behind */ \n", ";\n;"))
	}
	s.b.WriteString("}")
}

func (s *sampler) space() string { return s.one(" ", "\t", " /* between */ ", "  ") }

func (s *sampler) gap() string { return s.one(" ", "", "  ", " /* a gap */ ") }

func (s *sampler) allowed(defined []string) []schema.AllowedType {
	var all []schema.AllowedType
	for len(all) == 0 || s.r.IntN(2) == 0 {
		a := schema.AllowedType{Type: s.one(defined...)}
		switch members := s.members[a.Type]; {
		case s.r.IntN(4) == 0:
			a.Wildcard = true
		case len(members) > 0 && s.r.IntN(3) == 0:
			a.Relation = s.one(members...)
		}
		if len(s.Caveats) > 0 && s.r.IntN(3) == 0 {
			a.Caveat = s.one(s.Caveats...)
		}
		a.Expiration = s.expiration && s.r.IntN(3) == 0
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// expression makes one from the members before the i-th, so that no permission
// rests on itself.
func (s *sampler) expression(t string, i, depth int) schema.Expr {
	if depth > 0 && s.r.IntN(2) == 0 {
		switch s.r.IntN(3) {
		case 0:
			return schema.Exclusion{Base: s.expression(t, i, depth-1), Subtracted: s.expression(t, i, depth-1)}
		case 1:
			return schema.Union{Children: s.children(t, i, depth, func(e schema.Expr) []schema.Expr {
				if u, ok := e.(schema.Union); ok {
					return u.Children
				}
				return []schema.Expr{e}
			})}
		default:
			return schema.Intersection{Children: s.children(t, i, depth, func(e schema.Expr) []schema.Expr {
				if u, ok := e.(schema.Intersection); ok {
					return u.Children
				}
				return []schema.Expr{e}
			})}
		}
	}
	switch n := s.r.IntN(8); {
	case n == 0:
		return schema.Nil{}
	case n == 1 && s.self:
		return schema.Self{}
	case n < 4:
		return schema.Arrow{
			Relation: s.one(s.members[t][:s.relations[t]]...), Kind: schema.ArrowKind(s.r.IntN(3)),
			Target: s.one(s.one(relationNames...), s.one(permissionNames...)),
		}
	default:
		return schema.Ref{Name: s.one(s.members[t][:i]...)}
	}
}

func (s *sampler) children(t string, i, depth int, flat func(schema.Expr) []schema.Expr) []schema.Expr {
	var all []schema.Expr
	for range 2 + s.r.IntN(2) {
		all = append(all, flat(s.expression(t, i, depth-1))...)
	}
	return all
}

// write writes an expression where operators that bind looser than a level need
// parentheses: 0 for none, 1 within an exclusion, 2 within an intersection, 3
// within a union.
func (s *sampler) write(e schema.Expr, level int) {
	own := 4
	switch e.(type) {
	case schema.Exclusion:
		own = 0
	case schema.Intersection:
		own = 1
	case schema.Union:
		own = 2
	}
	parentheses := max(0, s.r.IntN(6)-4)
	if own < level {
		parentheses++
	}
	s.b.WriteString(strings.Repeat("(", parentheses))
	operator := func(symbol string) {
		s.b.WriteString(s.gap() + symbol + s.gap() + s.one("", "\n\t\t", " // goes on\n"))
	}
	switch e := e.(type) {
	case schema.Exclusion:
		s.write(e.Base, 0)
		operator("-")
		s.write(e.Subtracted, 1)
	case schema.Intersection:
		for i, c := range e.Children {
			if i > 0 {
				operator("&")
			}
			s.write(c, 2)
		}
	case schema.Union:
		for i, c := range e.Children {
			if i > 0 {
				operator("+")
			}
			s.write(c, 3)
		}
	case schema.Arrow:
		switch e.Kind {
		case schema.ArrowPlain:
			s.b.WriteString(e.Relation + s.gap() + "->" + s.gap() + e.Target)
		case schema.ArrowAny:
			fmt.Fprintf(&s.b, "%s.any(%s)", e.Relation, e.Target)
		case schema.ArrowAll:
			fmt.Fprintf(&s.b, "%s . all ( %s )", e.Relation, e.Target)
		}
	case schema.Ref:
		s.b.WriteString(e.Name)
	case schema.Nil:
		s.b.WriteString("nil")
	case schema.Self:
		s.b.WriteString("self")
	}
	s.b.WriteString(strings.Repeat(")", parentheses))
}
