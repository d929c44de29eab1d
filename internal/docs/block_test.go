package docs_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the repository's folder.
var root = filepath.Join("..", "..")

// page is one Markdown file.
type page struct {
	name     string // relative to root, "docs/tokens.md"
	text     string
	sections []section
}

// section is what follows a heading of the second level. What precedes the
// first one is a section without a title.
type section struct {
	title  string
	blocks []block
}

// block is a fenced block of code.
type block struct {
	language string
	mark     string // the second word of the fence
	line     int    // of the fence, from 1
	text     string
}

// Fences that say more than what is in the block.
const (
	stopped = "sh stopped" // no server may run meanwhile
	exact   = "text exact" // the block before it writes this
)

func (b *block) is(fence string) bool { return b.language+" "+b.mark == fence }

// runs reports whether the block is something to run, not to look at.
func (b *block) runs() bool { return b.language == "sh" || b.language == "sql" }

// pages reads README.md and what else is documentation, in order.
func pages(t *testing.T, patterns ...string) []page {
	t.Helper()
	var out []page
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no such file (%v)", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := parsePage(filepath.ToSlash(rel), text)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, p)
		}
	}
	return out
}

func parsePage(name string, text []byte) (page, error) {
	p := page{name: name, text: string(text), sections: []section{{}}}
	var open *block
	for i, line := range bytes.Split(text, []byte("\n")) {
		s := string(line)
		switch fence, isFence := strings.CutPrefix(s, "```"); {
		case open != nil && s == "```":
			last := &p.sections[len(p.sections)-1]
			last.blocks = append(last.blocks, *open)
			open = nil
		case open != nil:
			open.text += s + "\n"
		case isFence && fence == "":
			return p, fmt.Errorf("%s:%d: the block does not say what is in it", name, i+1)
		case isFence:
			language, mark, _ := strings.Cut(fence, " ")
			if mark != "" && fence != stopped && fence != exact {
				return p, fmt.Errorf("%s:%d: a block cannot be %q", name, i+1, fence)
			}
			open = &block{language: language, mark: mark, line: i + 1}
		case strings.HasPrefix(s, "## "):
			p.sections = append(p.sections, section{title: strings.TrimPrefix(s, "## ")})
		}
	}
	if open != nil {
		return p, fmt.Errorf("%s:%d: the block has no end", name, open.line)
	}
	return p, nil
}

func TestParsePage(t *testing.T) {
	const text = "# T\n```sql\nSELECT 1;\n```\n## One\n```sh\ncat <<E\n## no heading\nE\n```\n```sh stopped\nx\n```\n"
	p, err := parsePage("p.md", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []section{
		{"", []block{{"sql", "", 2, "SELECT 1;\n"}}},
		{"One", []block{{"sh", "", 6, "cat <<E\n## no heading\nE\n"}, {"sh", "stopped", 11, "x\n"}}},
	}
	if got := fmt.Sprint(p.sections); got != fmt.Sprint(want) {
		t.Errorf("got %s, want %v", got, want)
	}
	for _, bad := range []string{"```\nx\n```\n", "```sh\nx\n", "```sh later\nx\n```\n"} {
		if _, err := parsePage("p.md", []byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
