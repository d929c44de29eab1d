package query

import (
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// Param is one parameter of an endpoint, in the order of $1, $2 ...
type Param struct {
	Name     string
	InPath   bool
	Type     catalog.OID
	TypeName string      // "integer"
	Class    match.Class // of the type, or of its elements
	Array    bool
	Labels   []string // of an enum, in order

	base catalog.OID // below domains; of the elements of an array
}

// ParamError says why a request's parameter was not accepted. It is the
// client's to mend.
type ParamError struct {
	Name   string
	Reason string
}

func (e *ParamError) Error() string { return fmt.Sprintf("parameter %s %s", e.Name, e.Reason) }

// param describes parameter n of a file.
func (a *analysis) param(name string, inPath bool, oid uint32) Param {
	t := a.srv.base(oid)
	p := Param{Name: name, InPath: inPath, Type: catalog.OID(oid), TypeName: a.srv.typ(oid).name}
	if t.element != 0 {
		p.Array = true
		t = a.srv.base(t.element)
	}
	p.base, p.Labels = catalog.OID(t.oid), t.labels
	p.Class = a.class(t.oid)
	return p
}

// parse reads a value as it came in a URL, and returns it in canonical form:
// equal values of most types have one form, and the form is one that Postgres
// reads alike at any time.
func (p *Param) parse(text string) (canonical string, arg argument, err error) {
	bad := func(reason string) (string, argument, error) {
		return "", argument{}, &ParamError{Name: p.Name, Reason: reason}
	}
	if reason := badText(text); reason != "" {
		return bad(reason)
	}
	if !p.Array {
		v, reason := p.scalar(text)
		if reason != "" {
			return bad(reason)
		}
		return v, argument{item: item{text: p.logForm(v)}}, nil
	}
	items, reason := parseArray(text)
	if reason != "" {
		return bad(reason)
	}
	for i := range items {
		if items[i].null {
			continue
		}
		v, reason := p.scalar(items[i].text)
		if reason != "" {
			return bad("has an element that " + reason)
		}
		items[i].text = v
	}
	v := formatArray(items)
	for i := range items {
		items[i].text = p.logForm(items[i].text)
	}
	return v, argument{item: item{text: v}, items: items}, nil
}

// logForm turns the ISO 8601 of a URL into the form of Postgres and its log.
func (p *Param) logForm(v string) string {
	if p.Class != match.ClassTime || len(v) < len(dateLayout) || v[4] != '-' {
		return v
	}
	v = strings.Replace(v, "T", " ", 1)
	if strings.HasSuffix(v, "Z") {
		v = v[:len(v)-1] + "+00"
	}
	return v
}

// scalar canonicalises one value. A reason is a phrase after "parameter x".
func (p *Param) scalar(text string) (string, string) {
	if p.Labels != nil && p.Class == match.ClassText && len(p.Labels) > 0 {
		for _, l := range p.Labels {
			if l == text {
				return text, ""
			}
		}
		return "", fmt.Sprintf("is %q, and %s has no such label", clip(text), p.TypeName)
	}
	switch p.base {
	case oidBool:
		return canonicalBool(text)
	case oidInt2:
		return canonicalInt(text, 16)
	case oidInt4:
		return canonicalInt(text, 32)
	case oidInt8:
		return canonicalInt(text, 64)
	case oidOID:
		return canonicalOID(text)
	case oidNumeric:
		return canonicalNumeric(text)
	case oidFloat4:
		return canonicalFloat(text, 32)
	case oidFloat8:
		return canonicalFloat(text, 64)
	case oidUUID:
		return canonicalUUID(text)
	case oidDate:
		return canonicalDate(text)
	case oidTimestamp:
		return canonicalTimestamp(text, false)
	case oidTimestamptz:
		return canonicalTimestamp(text, true)
	case oidTime:
		return canonicalTime(text, false)
	case oidTimetz:
		return canonicalTime(text, true)
	case oidJSON, oidJSONB:
		return canonicalJSON(text)
	}
	return text, ""
}

// clip shortens a value for an error message.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
