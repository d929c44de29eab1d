package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// scenario is a sequential run in full: playing it again does the same.
type scenario struct {
	ddl, rows []string
	tables    []string
	restrict  bool
	eps       []*endpoint
	steps     []step
	settings  settings
}

// settings are what of tidemark a scenario chooses.
type settings struct {
	MaxMemory       int64
	FillConnections int
	Batch           int
	NoRefill        bool
}

// asked are all requests of all endpoints.
func (sc *scenario) asked() []*request {
	var all []*request
	for _, e := range sc.eps {
		all = append(all, e.asked...)
	}
	return all
}

// randomScenario makes a skeleton, endpoints that the grid wants, and steps.
func randomScenario(t testing.TB, r *rand.Rand, server *pgtest.Server, endpoints, steps int) *scenario {
	s := skeleton(r)
	sc := &scenario{ddl: s.ddl, restrict: s.restrict, settings: settings{
		MaxMemory: pick(r, []int64{256 << 10, 64 << 20, 64 << 20}), FillConnections: 1 + r.IntN(4),
		Batch: pick(r, []int{0, 0, 1, 2}), NoRefill: chance(r, 40),
	}}
	for _, t := range s.tables {
		sc.tables = append(sc.tables, t.name)
	}
	a := newAuthor(r, s)
	s.seeds = a.seedRows()
	sc.rows = s.seeds
	sc.eps = lively(t, r, server, s, endpoints)
	for _, e := range sc.eps {
		for t := range s.readBy(e) {
			e.reads = append(e.reads, t)
		}
		slices.Sort(e.reads)
	}
	for range steps {
		sc.steps = append(sc.steps, a.next())
	}
	return sc
}

const (
	livelyTries = 4 // at an endpoint, until most of its answers are not empty
	livelyAsked = 4 // requests that are kept of each
)

// lively returns endpoints of the grid of which few answers are empty: what is
// empty hardly ever changes.
func lively(t testing.TB, r *rand.Rand, server *pgtest.Server, s *schema, n int) []*endpoint {
	ctx := context.Background()
	db := server.DB(t)
	rep := &replica{conn: db.Conn(t), s: s, names: map[*endpoint][]string{}}
	for _, sql := range slices.Concat(s.ddl, s.seeds) {
		if err := rep.exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	var eps []*endpoint
	for len(eps) < n {
		var c cell
		if len(eps)%3 == 0 {
			c = drawn.drawSimple(r)
		} else {
			c = drawn.draw(r)
		}
		var best *endpoint
		most := -1
		for try := 0; try < livelyTries && most < livelyAsked-1; try++ {
			e := compose(r, s, maps.Clone(c), fmt.Sprintf("g%d", len(eps)))
			if e == nil {
				continue
			}
			var full, empty []*request
			sizes := map[*request]int{}
			for _, q := range e.asked {
				res, err := rep.query(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				sizes[q] = len(short(res.body))
				if res.found && res.body != "[]" && !strings.HasPrefix(strings.TrimPrefix(res.body, "["), `{"n":0`) {
					full = append(full, q)
				} else {
					empty = append(empty, q)
				}
			}
			if len(full) > most {
				best, most = e, len(full)
				// What is large changes more often.
				slices.SortFunc(full, func(a, b *request) int { return sizes[b] - sizes[a] })
				all := append(full, empty...)
				e.asked = all[:min(len(all), max(len(full)+1, 2), livelyAsked)]
			}
		}
		if best != nil {
			eps = append(eps, best)
		}
	}
	return eps
}

func (sc *scenario) options(dsn, dir, slot string) tenant.Options {
	return tenant.Options{
		Database: dsn, Endpoints: dir, Slot: slot, Publication: "tidemark", WaitTimeout: 30 * time.Second,
		GCWindow: 10 * time.Second, Quantization: 100 * time.Millisecond,
		MaxMemory: sc.settings.MaxMemory, FillConnections: sc.settings.FillConnections,
		Batch: sc.settings.Batch, NoRefill: sc.settings.NoRefill,
	}
}

// ruler separates statements that may hold semicolons of their own.
const ruler = ";\n-- --\n"

// savedRequest is a request in a file.
type savedRequest struct {
	Endpoint  string
	Path      string
	Args      []*string
	One       bool
	Unordered bool
	Reads     []string
}

type saved struct {
	Tables   []string
	Restrict bool
	Settings settings
	Requests []savedRequest
}

// save writes a scenario into a folder, for people and for load.
func (sc *scenario) save(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "endpoints"), 0o755); err != nil {
		return err
	}
	if err := writeEndpoints(filepath.Join(dir, "endpoints"), sc.eps); err != nil {
		return err
	}
	all := saved{Tables: sc.tables, Restrict: sc.restrict, Settings: sc.settings}
	for _, q := range sc.asked() {
		all.Requests = append(all.Requests, savedRequest{q.ep.name, q.path, q.args, q.ep.one, q.ep.unordered, q.ep.reads})
	}
	requests, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"schema.sql": strings.Join(sc.ddl, ruler) + ruler, "rows.sql": strings.Join(sc.rows, ruler) + ruler,
		"steps.sql": writeSteps(sc.steps), "requests.json": string(requests) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func writeSteps(steps []step) string {
	var b strings.Builder
	for _, st := range steps {
		fmt.Fprintf(&b, "BEGIN;\n")
		for _, s := range st.statements {
			fmt.Fprintf(&b, "%s;\n", s.sql)
			if s.copy != "" {
				fmt.Fprintf(&b, "%s\\.\n", s.copy)
			}
		}
		fmt.Fprintf(&b, "COMMIT; -- read %s %d\n", st.mode, st.seed)
	}
	return b.String()
}

func readSteps(text string) ([]step, error) {
	var steps []step
	var st step
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch mark, is := strings.CutPrefix(line, "COMMIT; -- read "); {
		case is:
			mode, seed, _ := strings.Cut(mark, " ")
			n, err := strconv.ParseUint(seed, 10, 64)
			if err != nil {
				return nil, err
			}
			st.mode, st.seed = mode, n
			steps = append(steps, st)
		case line == "BEGIN;":
			st = step{}
		case line != "":
			s := statement{sql: strings.TrimSuffix(line, ";")}
			if strings.HasPrefix(line, "COPY ") {
				for i++; i < len(lines) && lines[i] != `\.`; i++ {
					s.copy += lines[i] + "\n"
				}
			}
			st.statements = append(st.statements, s)
		}
	}
	return steps, nil
}

// load reads what save wrote.
func load(dir string) (*scenario, error) {
	text := map[string]string{}
	for _, name := range []string{"schema.sql", "rows.sql", "steps.sql", "requests.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		text[name] = string(b)
	}
	var all saved
	if err := json.Unmarshal([]byte(text["requests.json"]), &all); err != nil {
		return nil, err
	}
	list := func(name string) []string {
		return slices.DeleteFunc(strings.Split(text[name], ruler), func(s string) bool { return strings.TrimSpace(s) == "" })
	}
	sc := &scenario{ddl: list("schema.sql"), rows: list("rows.sql"), tables: all.Tables, restrict: all.Restrict, settings: all.Settings}
	byName := map[string]*endpoint{}
	for _, q := range all.Requests {
		e := byName[q.Endpoint]
		if e == nil {
			b, err := os.ReadFile(filepath.Join(dir, "endpoints", q.Endpoint+".sql"))
			if err != nil {
				return nil, err
			}
			e = &endpoint{name: q.Endpoint, one: q.One, unordered: q.Unordered, reads: q.Reads}
			for line := range strings.Lines(string(b)) {
				switch {
				case strings.HasPrefix(line, "-- GET "):
					e.route = strings.TrimSpace(strings.TrimPrefix(line, "-- GET "))
				case line == "-- result: one\n":
				case strings.HasPrefix(line, "--"):
					e.header += line
				default:
					e.sql += line
				}
			}
			byName[q.Endpoint] = e
			sc.eps = append(sc.eps, e)
		}
		e.asked = append(e.asked, &request{ep: e, path: q.Path, args: q.Args})
	}
	var err error
	sc.steps, err = readSteps(text["steps.sql"])
	return sc, err
}
