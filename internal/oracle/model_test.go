package oracle

import (
	"maps"
	"strings"
)

// model is what the tables hold: texts by column, nil for NULL, under the text
// of the key.
type model map[*table]map[string][]*string

func (m model) clone() model {
	c := model{}
	for t, rows := range m {
		c[t] = maps.Clone(rows) // rows themselves are never changed
	}
	return c
}

func keyOf(t *table, row []*string) string {
	var key []string
	for _, v := range row[:len(t.key)] {
		key = append(key, *v)
	}
	return strings.Join(key, "|")
}

func literalOf(v *string) string {
	if v == nil {
		return "NULL"
	}
	return quote(*v)
}

func literals(row []*string) string {
	all := make([]string, len(row))
	for i, v := range row {
		all[i] = literalOf(v)
	}
	return strings.Join(all, ", ")
}

func whereKey(t *table, row []*string) string {
	var tests []string
	for i, c := range t.key {
		tests = append(tests, c.name+" = "+literalOf(row[i]))
	}
	return strings.Join(tests, " AND ")
}
