package table

import "reflect"

// ruleIn returns the rule for a table: its own, or that of its schema.
func ruleIn(rules []Rule, schema, name string) *Rule {
	var found *Rule
	for i := range rules {
		r := &rules[i]
		switch {
		case r.Schema != schema:
		case r.Table == name:
			return r
		case r.Table == "" && found == nil:
			found = r
		}
	}
	return found
}

// SetRules replaces the rules. Shapes of tables for which another rule holds then,
// or none, are over. The kept log has to have the changes of all that the new rules
// name already, if shapes of it are on disk.
func (h *Hub) SetRules(rules []Rule) {
	old := *h.rules.Swap(&rules)
	h.names.reset()
	var over []*Shape
	h.mu.Lock()
	for _, s := range h.shapes {
		i := s.def.info
		if !reflect.DeepEqual(ruleIn(old, i.schema, i.name), ruleIn(rules, i.schema, i.name)) {
			over = append(over, s)
		}
	}
	h.mu.Unlock()
	for _, s := range over {
		_ = h.end(s, "the rule for the table is another") // its followers are told when they ask
	}
	h.recheck()
}
