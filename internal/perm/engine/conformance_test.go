package engine_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// validationFile is what is read of a public validation file.
type validationFile struct {
	Schema        string `yaml:"schema"`
	Relationships string `yaml:"relationships"`
	Assertions    struct {
		True     []string `yaml:"assertTrue"`
		Caveated []string `yaml:"assertCaveated"`
		False    []string `yaml:"assertFalse"`
	} `yaml:"assertions"`
}

func TestPublicValidationFiles(t *testing.T) {
	dir := os.Getenv("TIDEMARK_CONFORMANCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "conformance")
	}
	files, err := filepath.Glob(filepath.Join(dir, "spicedb", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the validation files are not here; TIDEMARK_CONFORMANCE may say where they are")
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var f validationFile
			if err := yaml.Unmarshal(text, &f); err != nil {
				t.Fatal(err)
			}
			f.check(t)
		})
	}
}

func (f *validationFile) check(t *testing.T) {
	s, err := schema.Parse(f.Schema)
	if err != nil {
		t.Fatal(err)
	}
	b := graph.NewBuilder()
	for line := range strings.Lines(f.Relationships) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		r, err := tuple.Parse(line)
		if err == nil {
			err = s.Allowed(r)
		}
		if err == nil {
			err = b.Add(r)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	v := engine.View{Model: engine.Compile(s), Snapshot: g.Snapshot(), Now: time.Now(), Cache: engine.NewEagerCache(1 << 12)}
	for want, list := range map[engine.Has][]string{engine.Yes: f.Assertions.True, engine.Conditional: f.Assertions.Caveated, engine.No: f.Assertions.False} {
		for _, line := range list {
			r, text, err := tuple.ParseWith(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			var given map[string]any
			if text != "" {
				if err := json.Unmarshal([]byte(text), &given); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			got, err := engine.Check(context.Background(), v, r.Resource, r.Relation, r.Subject, given, engine.Options{})
			if err != nil || got.Has != want {
				t.Errorf("%s: %v %v, not %v", line, got.Has, err, want)
			}
			found, err := engine.LookupResources(context.Background(), v, r.Resource.Type, r.Relation, r.Subject, given, engine.Page{}, engine.Options{})
			has := engine.No
			for _, x := range found {
				if x.ID == r.Resource.ID {
					has = x.Has
				}
			}
			if err != nil || has != want {
				t.Errorf("%s: resources say %v %v, not %v", line, has, err, want)
			}
			subjects, err := engine.LookupSubjects(context.Background(), v, r.Resource, r.Relation, r.Subject.Type, r.Subject.Relation, given, engine.Options{})
			if said := said(subjects, r.Subject.ID); err != nil || !strings.HasPrefix(said, want.String()+" ") {
				t.Errorf("%s: subjects say %s %v, not %v", line, said, err, want)
			}
		}
	}
}
