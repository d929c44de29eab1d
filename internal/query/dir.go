package query

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// LoadDir reads every .sql file below dir, in the order of their paths. It
// returns the files that are sound and the problems of all of them, those
// between files included. Hidden files and folders are passed over.
func LoadDir(dir string) ([]*File, []Problem) {
	var paths []string
	var problems []Problem
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.IsDir() && filepath.Ext(path) == ".sql" {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, []Problem{{File: dir, Message: fmt.Sprintf("the endpoint files cannot be read: %v", err)}}
	}
	sort.Strings(paths)
	var files []*File
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			problems = append(problems, Problem{File: path, Message: fmt.Sprintf("the file cannot be read: %v", err)})
			continue
		}
		f, ps := ParseFile(path, src)
		problems = append(problems, ps...)
		if f != nil {
			files = append(files, f)
		}
	}
	problems = append(problems, Conflicts(files)...)
	return files, sortProblems(problems)
}

// Conflicts reports files that cannot be served together: two routes that
// match the same paths, two endpoints of one name.
func Conflicts(files []*File) []Problem {
	var problems []Problem
	routes, names := map[string]*File{}, map[string]*File{}
	for _, f := range files {
		if o := routes[f.Route.shape()]; o != nil {
			problems = append(problems, Problem{
				File: f.Path, Line: 1,
				Message: fmt.Sprintf("%s matches the same paths as %s in %s", f.Route, o.Route, o.Path),
				Hint:    "change one of the two paths",
			})
		} else {
			routes[f.Route.shape()] = f
		}
		if o := names[f.Name]; o != nil {
			problems = append(problems, Problem{
				File:    f.Path,
				Message: fmt.Sprintf("the endpoint has the same name as %s", o.Path),
				Hint:    "rename one of the two files: the name of a file is the name of its endpoint",
			})
		} else {
			names[f.Name] = f
		}
	}
	return problems
}
