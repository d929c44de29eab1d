package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// template is text with columns in it: {org}/{name}. Doubled braces are braces.
type template struct {
	// literals stand around the columns: there is one more of them.
	literals []string
	columns  []string
}

func parseTemplate(text string) (*template, error) {
	t := &template{}
	literal := ""
	for rest := text; ; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			t.literals = append(t.literals, literal+rest)
			return t, nil
		}
		literal += rest[:i]
		if strings.HasPrefix(rest[i+1:], rest[i:i+1]) {
			literal += rest[i : i+1]
			rest = rest[i+2:]
			continue
		}
		if rest[i] == '}' {
			return nil, errors.New("a } has no {")
		}
		name, after, ok := strings.Cut(rest[i+1:], "}")
		if !ok {
			return nil, errors.New("a { has no }")
		}
		if name == "" || strings.ContainsAny(name, "{") {
			return nil, fmt.Errorf("{%s} is not the name of a column in braces", name)
		}
		t.literals, t.columns = append(t.literals, literal), append(t.columns, name)
		literal, rest = "", after
	}
}

// lone returns the column that the template is, if it is nothing else.
func (t *template) lone() (string, bool) {
	if len(t.columns) == 1 && t.literals[0] == "" && t.literals[1] == "" {
		return t.columns[0], true
	}
	return "", false
}

// parseID reads the template of an id, whose fixed parts have to be fit for one.
func parseID(text string) (*template, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return t, tuple.CheckID(t.literals[0])
	}
	for _, l := range t.literals {
		if l == tuple.Wildcard {
			return nil, errors.New("the wildcard * is an id of its own")
		}
		if l != "" {
			if err := tuple.CheckID(l); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// parseRelationship reads type:id#relation@type:id or type:id#relation@type:id#relation
// with columns in the ids.
func parseRelationship(text string) (r relationship, err error) {
	const form = "a relationship such as document:{id}#viewer@user:{user_id} is expected"
	resource, subject, ok := strings.Cut(text, "@")
	if !ok {
		return r, errors.New(form + ": there is no @")
	}
	object, relation, ok := strings.Cut(resource, "#")
	if !ok {
		return r, errors.New(form + ": there is no # before the @")
	}
	r.relation = relation
	if err := tuple.CheckRelation(relation); err != nil {
		return r, err
	}
	if r.resourceType, r.resourceID, err = parseObject(object); err != nil {
		return r, err
	}
	if len(r.resourceID.columns) == 0 && r.resourceID.literals[0] == tuple.Wildcard {
		return r, errors.New("a resource cannot be a wildcard")
	}
	object, relation, ok = strings.Cut(subject, "#")
	if ok && relation != tuple.Ellipsis {
		if err := tuple.CheckRelation(relation); err != nil {
			return r, err
		}
		r.subjectRelation = relation
	}
	if r.subjectType, r.subjectID, err = parseObject(object); err != nil {
		return r, err
	}
	if r.subjectRelation != "" && len(r.subjectID.columns) == 0 && r.subjectID.literals[0] == tuple.Wildcard {
		return r, errors.New("a wildcard subject has no relation")
	}
	return r, nil
}

func parseObject(text string) (typ string, id *template, err error) {
	typ, rest, ok := strings.Cut(text, ":")
	if !ok {
		return "", nil, fmt.Errorf("%q is not an object such as document:{id}", text)
	}
	if strings.ContainsAny(typ, "{}") {
		return "", nil, fmt.Errorf("the type %q is not fixed; only ids have columns", typ)
	}
	if err := tuple.CheckType(typ); err != nil {
		return "", nil, err
	}
	id, err = parseID(rest)
	return typ, id, err
}

// idColumns returns the columns without which a row means nothing.
func (r *Rule) idColumns() []string {
	out := slices.Concat(r.parts.resourceID.columns, r.parts.subjectID.columns)
	slices.Sort(out)
	return slices.Compact(out)
}
