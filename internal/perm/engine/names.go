package engine

import "github.com/tidemarkdb/tidemark/internal/perm/graph"

// names are a model's names as a graph numbers them. A graph only ever adds
// numbers, so what is known of a snapshot holds for earlier ones, which have
// nothing under numbers that they do not know.
type names struct {
	graph        *graph.Graph
	types, pairs int // how many the graph had

	pairOf      []graph.Pair // by member; 0: no relationship names it
	memberOf    []memberID   // by pair; 0: the schema has no such member
	definitions []int        // by graph.Type; -1: the schema has no such definition
}

// named returns the model's names in a snapshot's graph.
func (m *Model) named(s *graph.Snapshot) *names {
	n := m.names.Load()
	if n != nil && n.graph == s.Graph() && n.pairs >= s.Pairs() && n.types >= s.Types() {
		return n
	}
	n = &names{graph: s.Graph(), types: s.Types(), pairs: s.Pairs(), pairOf: make([]graph.Pair, len(m.members))}
	n.memberOf = make([]memberID, n.pairs+1)
	n.definitions = make([]int, n.types+1)
	for i := range n.definitions {
		n.definitions[i] = -1
	}
	for name, d := range m.definitions {
		if t, ok := s.Type(name); ok {
			n.definitions[t] = d.index
		}
	}
	for _, x := range m.members[1:] {
		if p, ok := s.Pair(x.definition.name, x.name); ok {
			n.pairOf[x.id], n.memberOf[p] = p, x.id
		}
	}
	m.names.Store(n)
	return n
}
