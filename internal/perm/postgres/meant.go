package postgres

import (
	"errors"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// names shares the texts of types, relations and caveats, which are few, and
// knows which of them can be written. A zero value is ready.
type names struct {
	known    map[string]*name
	contexts map[string]string // as they were read and in canonical form
}

type name struct {
	text                       string
	typeErr, relErr, caveatErr error
}

// Bounds of what is shared; rows with more names are no work of calls.
const (
	maxNames    = 1 << 16
	maxContexts = 1 << 12
)

func (n *names) look(text []byte) *name {
	if known := n.known[string(text)]; known != nil {
		return known
	}
	s := string(text)
	fresh := &name{s, tuple.CheckType(s), tuple.CheckRelation(s), tuple.CheckCaveat(s)}
	if n.known == nil {
		n.known = make(map[string]*name)
	}
	if len(n.known) < maxNames {
		n.known[s] = fresh
	}
	return fresh
}

func (n *names) of(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	return n.look(text).text
}

var (
	errWildcard    = errors.New("a wildcard can only be a subject itself")
	errSubject     = errors.New("the subject's relation is not one")
	errUnqualified = errors.New("a context without a caveat")
)

// meant says why a row that somebody wrote into the table is no relationship: no
// call could have written it. One is left out by whoever reads it, in COPY as in
// the log. On the way, the context becomes canonical.
//
// What the schema does not know is another matter: it is a relationship, and
// nothing follows from it until a schema allows the relation and the subject. A
// caveat whose context does not fit never holds.
func (n *names) meant(r *tuple.Relationship) error {
	if err := n.look([]byte(r.Resource.Type)).typeErr; err != nil {
		return err
	}
	if err := n.look([]byte(r.Relation)).relErr; err != nil {
		return err
	}
	if err := n.look([]byte(r.Subject.Type)).typeErr; err != nil {
		return err
	}
	if r.Subject.Relation != "" && n.look([]byte(r.Subject.Relation)).relErr != nil {
		return errSubject
	}
	if err := tuple.CheckID(r.Resource.ID); err != nil {
		return err
	}
	if err := tuple.CheckID(r.Subject.ID); err != nil {
		return err
	}
	if r.Resource.ID == tuple.Wildcard || r.Subject.ID == tuple.Wildcard && r.Subject.Relation != "" {
		return errWildcard
	}
	if r.Caveat != "" {
		if err := n.look([]byte(r.Caveat)).caveatErr; err != nil {
			return err
		}
	}
	if r.Context == "" {
		return nil
	}
	if r.Caveat == "" {
		return errUnqualified
	}
	return n.canonical(&r.Context)
}

// canonical makes a context canonical.
func (n *names) canonical(context *string) error {
	if known, ok := n.contexts[*context]; ok {
		*context = known
		return nil
	}
	read := *context
	var err error
	if *context, err = tuple.Canonical([]byte(read)); err != nil {
		return err
	}
	if n.contexts == nil || len(n.contexts) == maxContexts {
		n.contexts = make(map[string]string)
	}
	n.contexts[strings.Clone(read)] = *context
	return nil
}
