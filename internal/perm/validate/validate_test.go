package validate

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/schema/schematest"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestConformance runs the public validation files, which are not a part of the
// repository.
func TestConformance(t *testing.T) {
	dir := os.Getenv("TIDEMARK_CONFORMANCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "conformance")
	}
	files, err := filepath.Glob(filepath.Join(dir, "spicedb", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skip("there are no public validation files here; TIDEMARK_CONFORMANCE names the folder that has them")
	}
	asked := 0
	for _, file := range files {
		r := Run(t.Context(), file, now)
		if r.Relationships == 0 {
			t.Errorf("%s: nothing was read", file)
		}
		asked += r.Assertions
		for _, p := range r.Problems {
			t.Errorf("%s", p)
		}
	}
	if asked < 100 {
		t.Errorf("only %d assertions were read", asked)
	}
}

// TestFiles runs each file of testdata, whose problems stand in a .txt of its name.
func TestFiles(t *testing.T) {
	t.Chdir("testdata")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		r := Run(t.Context(), file, now)
		var got strings.Builder
		for _, p := range r.Problems {
			fmt.Fprintln(&got, p)
		}
		if got.String() != string(want) {
			t.Errorf("%s:\n%s---- want\n%s", file, got.String(), want)
		}
	}
	if r := Run(t.Context(), "missing.yaml", now); len(r.Problems) != 1 || r.Problems[0].String() != "missing.yaml: the file cannot be read: no such file or directory" {
		t.Errorf("a missing file: %v", r.Problems)
	}
}

// TestWhoIsWhatTheEngineSays holds the expansion to checks, which find their
// answers from the other end. No context is given, so every caveat is undecided.
func TestWhoIsWhatTheEngineSays(t *testing.T) {
	var asked, members, caveated, covered, failed int
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		sample := schematest.Random(r)
		sch, err := schema.Parse(sample.Text)
		if err != nil {
			t.Fatal(err)
		}
		updates := relationships(r, sample)
		snapshot, err := graph.New().Apply(updates)
		if err != nil {
			t.Fatal(err)
		}
		v := engine.View{Model: engine.Compile(sch), Snapshot: snapshot, Now: now}
		x := newExpansion(t.Context(), v)
		for at := range questions(sch) {
			found, err := x.of(at.object, at.name)
			if err != nil {
				failed++ // too deep, or upon its own opposite
				continue
			}
			for _, d := range sch.Definitions {
				for i := range objects + 1 { // and one that nothing names
					s := tuple.Object{Type: d.Name, ID: fmt.Sprint(i)}
					res, err := engine.Check(t.Context(), v, at.object, at.name, tuple.Subject{Object: s}, nil, engine.Options{})
					if err != nil {
						continue
					}
					asked++
					p := found.part(group{typ: s.Type})
					one, all := p.one[s.ID].has, p.covers(s.ID)
					if want := map[engine.Has]truth{engine.No: no, engine.Conditional: maybe, engine.Yes: yes}[res.Has]; max(one, all) != want {
						t.Fatalf("seed %d: %v %s: by expansion %d and %d, by check %s\n%s\n%v", seed, at, s, one, all, res.Has, sample.Text, updates)
					}
					switch {
					case one == maybe:
						caveated++
					case all > no:
						covered++
					case one == yes:
						members++
					}
				}
			}
		}
	}
	t.Logf("%d asked: %d members, %d under a caveat, %d by a wildcard; %d could not be expanded", asked, members, caveated, covered, failed)
	if members < 100 || caveated < 100 || covered < 100 || failed > asked/10 {
		t.Error("too little was compared")
	}
}

const objects = 4 // of each type

// relationships draws some that the schema takes.
func relationships(r *rand.Rand, sample schematest.Sample) []graph.Update {
	var out []graph.Update
	seen := map[tuple.Relationship]bool{}
	pairs := slices.SortedFunc(maps.Keys(sample.Relations), func(a, b schema.Pair) int {
		return strings.Compare(a.Type+"#"+a.Relation, b.Type+"#"+b.Relation)
	})
	for _, pair := range pairs {
		for range r.IntN(9) {
			a := sample.Relations[pair][r.IntN(len(sample.Relations[pair]))]
			rel := tuple.Relationship{Relation: pair.Relation, Caveat: a.Caveat}
			rel.Resource = tuple.Object{Type: pair.Type, ID: fmt.Sprint(r.IntN(objects))}
			rel.Subject.Object = tuple.Object{Type: a.Type, ID: fmt.Sprint(r.IntN(objects))}
			rel.Subject.Relation = a.Relation
			if a.Wildcard {
				rel.Subject.ID = tuple.Wildcard
			}
			if a.Expiration {
				rel.Expires = now.UnixMicro() + int64(r.IntN(4)) - 1
			}
			if seen[rel.Key()] {
				continue
			}
			seen[rel.Key()] = true
			out = append(out, graph.Update{Op: graph.Add, Relationship: rel})
		}
	}
	return out
}

// questions are all relations and permissions of all objects.
func questions(sch *schema.Schema) iter.Seq[spot] {
	return func(yield func(spot) bool) {
		for _, d := range sch.Definitions {
			var names []string
			for _, r := range d.Relations {
				names = append(names, r.Name)
			}
			for _, p := range d.Permissions {
				names = append(names, p.Name)
			}
			for _, name := range names {
				for i := range objects {
					if !yield(spot{tuple.Object{Type: d.Name, ID: fmt.Sprint(i)}, name}) {
						return
					}
				}
			}
		}
	}
}

// TestSample checks the sample that the documentation shows.
func TestSample(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "examples", "permissions")
	r := Run(t.Context(), filepath.Join(dir, "validation.yaml"), now)
	if r.Assertions == 0 || r.Expected == 0 {
		t.Error("nothing was asked")
	}
	for _, p := range r.Problems {
		t.Error(p)
	}
	text, err := os.ReadFile(filepath.Join(dir, "schema.zed"))
	if err != nil {
		t.Fatal(err)
	}
	sch, err := schema.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := mapping.Load(filepath.Join(dir, "mapping.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if problems := rules.Check(sch); len(problems) > 0 {
		t.Error(problems)
	}
}
