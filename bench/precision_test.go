package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestShapesAreTheFiles holds the shapes to the endpoint files: each has one, its
// tables are those that the statement names, and one drawn answer has all
// parameters that the path needs.
func TestShapesAreTheFiles(t *testing.T) {
	texts, files, err := readEndpoints(market, "precision/endpoints")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(shapes)+1 || len(shapes) != 30 {
		t.Errorf("%d files and %d shapes, want 31 and 30", len(files), len(shapes))
	}
	schema, err := market.ReadFile("precision/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for _, m := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(string(schema), -1) {
		tables = append(tables, m[1])
	}
	k := newKeys(1)
	for i := range shapes {
		s := &shapes[i]
		f := files[s.name]
		if f == nil {
			t.Errorf("shape %s has no file", s.name)
			continue
		}
		var want []string
		for _, name := range tables {
			if regexp.MustCompile(`(FROM|JOIN) ` + name + `\b`).MatchString(texts[s.name+".sql"]) {
				want = append(want, name)
			}
		}
		if s.name == "product_stock" { // a view
			want = []string{"inventory"}
		}
		got := slices.Sorted(slices.Values(s.tables))
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("shape %s says that it reads %v; the file reads %v", s.name, got, want)
		}
		if s.single && len(s.tables) != 1 {
			t.Errorf("shape %s reads %v and is marked as one that reads one table", s.name, s.tables)
		}
		if a := askFor(f, s.values(k)); strings.Contains(a.path, "{") {
			t.Errorf("shape %s asks for %s", s.name, a.path)
		}
	}
}

func TestSharesOfOperations(t *testing.T) {
	sum := 0
	for _, op := range operations {
		sum += op.share
	}
	if sum != 1000 {
		t.Errorf("the shares are %d in all, want 1000", sum)
	}
}

func TestCollections(t *testing.T) {
	got := collections(`listening
gc 7 @12.345s 2%: 0.018+1.3+0.076 ms clock, 0.036+0.5/1.2/0+0.15 ms cpu, 4->5->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 2 P
gc 8 @132.345s 2%: 0.118+1.3+0.076 ms clock, 0.036+0.5/1.2/0+0.15 ms cpu, 40->50->30 MB, 60 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)
gc `)
	want := []collection{{2 << 20, 76 * time.Microsecond}, {30 << 20, 118 * time.Microsecond}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseMetrics(t *testing.T) {
	m, err := parseMetrics(strings.NewReader("# HELP a b\na_total{endpoint=\"x\"} 3\na_total{endpoint=\"y z\"} 4\nb 1.5e+06\n"))
	if err != nil || m["a_total"] != 7 || m["b"] != 1.5e6 {
		t.Errorf("got %v, %v", m, err)
	}
}
