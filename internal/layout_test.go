// Package internal_test checks how the packages below may depend on each other.
package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tidemarkdb/tidemark/internal/"

// pure packages take everything that they work on as arguments.
var pure = []string{"revision", "structured", "pgoutput", "match", "catalog", "change", "patch", "query/nodetree", "duration", "perm/tuple", "perm/caveat", "perm/graph", "perm/schema", "perm/engine", "live", "live/record"}

// order lists the packages from the ground up. A package may import those on
// earlier lines and those named with it on its own line.
var order = [][]string{
	{"structured", "duration", "yamldoc", "tally", "catalog", "pgoutput", "pgoutput/pgoutputtest", "query/nodetree", "perm/tuple", "perm/caveat", "live/record", "live/disk"},
	{"revision", "match", "change", "perm/graph", "perm/schema", "perm/schema/schematest"},
	{"patch", "perm/engine", "live"},
	{"answer", "query", "replication", "config", "live/keep"},
	{"perm", "perm/mapping", "live/table", "live/follow"},
	{"perm/memory", "perm/postgres", "perm/validate", "live/rules"},
	{"feed", "setup"},
	{"tenant"},
	{"liveapi", "liveapi/liveapitest"},
	{"httpapi", "grpcapi"},
	{"adminapi"},
	{"server"},
	{"demo"},
	{"cli"},
}

func level(pkg string) int {
	return slices.IndexFunc(order, func(line []string) bool { return slices.Contains(line, pkg) })
}

// sources calls f with every file of every package below that is built into
// tidemark.
func sources(t *testing.T, f func(pkg, path string, file *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			d.Name() == "rules_fault.go" { // of a build that nobody is given
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(filepath.Dir(path)), path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPurePackagesReachNothing(t *testing.T) {
	seen := map[string]bool{}
	sources(t, func(pkg, path string, file *ast.File) {
		if !slices.Contains(pure, pkg) {
			return
		}
		seen[pkg] = true
		for _, i := range file.Imports {
			name := strings.Trim(i.Path.Value, `"`)
			own := strings.TrimPrefix(name, module)
			switch {
			case own != name:
				if !slices.Contains(pure, own) {
					t.Errorf("%s imports %s, which is not pure", path, own)
				}
			case pkg == "perm/caveat" && strings.HasPrefix(name, "cel.dev/"): // evaluates expressions, reaches nothing
			case strings.Contains(strings.Split(name, "/")[0], "."):
				t.Errorf("%s imports %s", path, name)
			case name == "net/netip": // values
			case name == "net" || strings.HasPrefix(name, "net/") || name == "os" || strings.HasPrefix(name, "os/") ||
				name == "log" || strings.HasPrefix(name, "log/") || strings.HasPrefix(name, "database/") || name == "syscall":
				t.Errorf("%s imports %s", path, name)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && (s.Sel.Name == "Now" || s.Sel.Name == "Since" || s.Sel.Name == "Sleep") {
					t.Errorf("%s reads the clock with time.%s", path, s.Sel.Name)
				}
			}
			return true
		})
	})
	for _, p := range pure {
		if !seen[p] {
			t.Errorf("there is no package %s", p)
		}
	}
}

func TestArrowsPointDown(t *testing.T) {
	sources(t, func(pkg, path string, file *ast.File) {
		if pkg == "." || strings.HasPrefix(pkg, "pgtest") {
			return
		}
		from := level(pkg)
		if from < 0 {
			t.Errorf("package %s has no place in the order", pkg)
			return
		}
		for _, i := range file.Imports {
			own, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module)
			if !ok || own == "pgtest" && pkg == "demo" {
				continue
			}
			if to := level(own); to < 0 || to > from {
				t.Errorf("%s imports %s, which stands above it", path, own)
			}
		}
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	docs := map[string]string{}
	sources(t, func(pkg, _ string, file *ast.File) {
		if file.Doc != nil && file.Name.Name != "main" {
			docs[pkg] += file.Doc.Text()
		} else if docs[pkg] == "" {
			docs[pkg] = ""
		}
	})
	for pkg, doc := range docs {
		if pkg != "." && doc == "" && !strings.HasSuffix(pkg, "ensure") {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}
