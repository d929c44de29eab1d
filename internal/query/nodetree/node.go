// Package nodetree reads pg_node_tree text: the form in which Postgres keeps an
// analysed query (pg_proc.prosqlbody, pg_rewrite.ev_action, pg_policy.polqual).
//
// Contract: fields are reached by name, so that a field which one major version
// has and another has not reads as its zero value. Parse never panics and
// accepts every tree of Postgres 14 to 18; what a node means is the caller's
// business. The package is pure, and a tree is immutable after Parse.
//
// The format is that of nodeToString in src/backend/nodes/outfuncs.c.
package nodetree

import "strconv"

// Kind says what a Value holds.
type Kind byte

// The kinds. The zero Kind is Nil: <> in the text, or a field that is missing.
const (
	Nil    Kind = iota
	Atom        // a bare token: number, boolean, enumeration, name
	String      // a String node, written in double quotes
	Struct      // {TAG :field value ...}
	List        // (value ...)
	Ints        // (i 1 2), (o 1 2), (x 1 2), or a bitmap set (b 1 2)
	Datum       // 4 [ 50 0 0 0 ]: the bytes of a constant
)

// Value is one field of a node or one element of a list.
type Value struct {
	Kind  Kind
	Text  string  // Atom and String, unescaped
	Node  *Node   // Struct
	Items []Value // List
	Ints  []int64 // Ints
	Bytes []byte  // Datum
}

// Node is one {TAG ...}.
type Node struct {
	Tag    string
	Fields []Field
}

// Field is one :name with its value.
type Field struct {
	Name  string
	Value Value
}

// Get returns the named field, or a Nil value.
func (n *Node) Get(name string) Value {
	if n == nil {
		return Value{}
	}
	for i := range n.Fields {
		if n.Fields[i].Name == name {
			return n.Fields[i].Value
		}
	}
	return Value{}
}

// Int returns a number, or 0.
func (n *Node) Int(name string) int {
	i, _ := strconv.Atoi(n.Get(name).Text)
	return i
}

// OID returns an object id, or 0.
func (n *Node) OID(name string) uint32 {
	u, _ := strconv.ParseUint(n.Get(name).Text, 10, 32)
	return uint32(u)
}

// Bool reports whether the field is true.
func (n *Node) Bool(name string) bool { return n.Get(name).Text == "true" }

// Str returns a token or string, or "".
func (n *Node) Str(name string) string { return n.Get(name).Text }

// Child returns a node, or nil.
func (n *Node) Child(name string) *Node { return n.Get(name).Node }

// List returns the elements of a list; a list of anything but values is empty.
func (n *Node) List(name string) []Value { return n.Get(name).Items }

// Nodes returns the nodes among the elements of a list.
func (n *Node) Nodes(name string) []*Node { return Nodes(n.Get(name)) }

// Nodes returns the nodes of a list value, or the node itself of a struct.
func Nodes(v Value) []*Node {
	switch v.Kind {
	case Struct:
		return []*Node{v.Node}
	case List:
		out := make([]*Node, 0, len(v.Items))
		for _, it := range v.Items {
			if it.Node != nil {
				out = append(out, it.Node)
			}
		}
		return out
	}
	return nil
}

// Each calls fn with every node that stands directly below the value: the
// node itself, or the nodes of a list, through lists of lists.
func Each(v Value, fn func(*Node)) {
	switch v.Kind {
	case Struct:
		fn(v.Node)
	case List:
		for _, it := range v.Items {
			Each(it, fn)
		}
	}
}
