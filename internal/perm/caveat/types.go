package caveat

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
)

type kind int8

const (
	anyKind kind = iota
	boolKind
	bytesKind
	doubleKind
	durationKind
	intKind
	ipKind
	listKind
	mapKind
	stringKind
	timestampKind
	uintKind
)

var kinds = [...]string{
	anyKind: "any", boolKind: "bool", bytesKind: "bytes", doubleKind: "double", durationKind: "duration", intKind: "int",
	ipKind: "ipaddress", listKind: "list", mapKind: "map", stringKind: "string", timestampKind: "timestamp", uintKind: "uint",
}

// maxNesting is how deep lists and maps may be declared within each other.
const maxNesting = 20

// A Type of a parameter.
type Type struct {
	kind kind
	of   *Type // what a list or a map, whose keys are strings, holds
}

// ParseType reads a type: any, bool, bytes, double, duration, int, ipaddress,
// string, timestamp, uint, list<T> or map<T>. Spaces are allowed between its
// parts.
func ParseType(text string) (*Type, error) {
	t, rest, err := parseType(text, 0)
	if err == nil && rest != "" {
		err = fmt.Errorf("unexpected %q after the type %s", rest, t)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func parseType(text string, depth int) (*Type, string, error) {
	if depth > maxNesting {
		return nil, "", fmt.Errorf("types are nested at most %d deep", maxNesting)
	}
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return r < 'a' || r > 'z' })
	if end < 0 {
		end = len(text)
	}
	name, rest := text[:end], strings.TrimSpace(text[end:])
	t := &Type{kind: -1}
	for k, n := range kinds {
		if n == name {
			t.kind = kind(k)
		}
	}
	switch t.kind {
	case -1:
		return nil, "", fmt.Errorf("there is no type %.60q; there are %s, with what they hold in angle brackets: list<string>",
			text, strings.Join(kinds[:], ", "))
	case listKind, mapKind:
		inner, ok := strings.CutPrefix(rest, "<")
		if !ok {
			return nil, "", fmt.Errorf("%s needs the type that it holds, such as %s<string>", name, name)
		}
		var err error
		if t.of, rest, err = parseType(inner, depth+1); err != nil {
			return nil, "", err
		}
		if rest, ok = strings.CutPrefix(rest, ">"); !ok {
			return nil, "", errors.New("the type has no closing >")
		}
		rest = strings.TrimSpace(rest)
	default:
		if strings.HasPrefix(rest, "<") {
			return nil, "", fmt.Errorf("%s holds no other type", name)
		}
	}
	return t, rest, nil
}

// String returns the canonical text, such as map<list<int>>.
func (t *Type) String() string {
	if t.of == nil {
		return kinds[t.kind]
	}
	return kinds[t.kind] + "<" + t.of.String() + ">"
}

func (t *Type) cel() *cel.Type {
	switch t.kind {
	case boolKind:
		return cel.BoolType
	case bytesKind:
		return cel.BytesType
	case doubleKind:
		return cel.DoubleType
	case durationKind:
		return cel.DurationType
	case intKind:
		return cel.IntType
	case ipKind:
		return ipType
	case listKind:
		return cel.ListType(t.of.cel())
	case mapKind:
		return cel.MapType(cel.StringType, t.of.cel())
	case stringKind:
		return cel.StringType
	case timestampKind:
		return cel.TimestampType
	case uintKind:
		return cel.UintType
	}
	return cel.DynType
}
