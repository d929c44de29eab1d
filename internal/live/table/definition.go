package table

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query"
)

// definition is what a client asked for, as the catalogue understands it. It is
// immutable.
type definition struct {
	live.Definition
	hash  string // of its canonical form: handles begin with it
	table *table
	info  *info
	world *world

	tables   map[catalog.OID]bool
	rows     *query.ShapeRows
	decided  bool // without Postgres
	deps     []match.Dependency
	encoding *encoding
	mark     mark

	visible []string // the columns that the client may name in a subset
	text    query.ShapeText
}

// encoding is how rows of a table become messages. Shapes share it.
type encoding struct {
	columns []string
	types   []catalog.OID
	encoder *live.Encoder
	schema  string

	mu      sync.Mutex
	layouts map[*catalog.Relation]layout
}

type layout struct {
	at  []int
	err error
}

// layout returns where rows of a relation have the columns. It fails if the
// relation is not what the shape was made for.
func (e *encoding) layout(rel *catalog.Relation) ([]int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l, ok := e.layouts[rel]; ok {
		return l.at, l.err
	}
	l := layout{}
	switch l.at, l.err = e.encoder.Layout(rel); {
	case l.err != nil:
		l.err = fmt.Errorf("%w: %w", errRedefined, l.err)
	case rel.Identity != catalog.IdentityFull:
		l.err = fmt.Errorf("%w: the replica identity of %s is not FULL", errRedefined, rel)
	default:
		for i, at := range l.at {
			if rel.Columns[at].Type != e.types[i] {
				l.err = fmt.Errorf("%w: the column %q of %s has another type", errRedefined, e.columns[i], rel)
			}
		}
	}
	if len(e.layouts) > 64 || e.layouts == nil {
		e.layouts = map[*catalog.Relation]layout{}
	}
	e.layouts[rel] = l
	return l.at, l.err
}

// names finds definitions that have been resolved.
type names struct {
	mu       sync.Mutex
	tables   map[catalog.OID]*table
	byName   map[[2]string]named
	resolved map[string]*definition
	analyses map[query.ShapeText]*analysed
}

type named struct {
	table   *table
	defined uint64 // as of which the name means it
}

type analysed struct {
	info  *info
	world *world
	cond  *query.ShapeCondition
}

// reset forgets everything. mu is not held.
func (n *names) reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tables, n.byName = map[catalog.OID]*table{}, map[[2]string]named{}
	n.resolved, n.analyses = map[string]*definition{}, map[query.ShapeText]*analysed{}
}

const (
	maxResolved = 20_000
	maxAnalyses = 5_000
)

func request(field, hint, format string, args ...any) error {
	return &live.RequestError{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// requestKey is a text that is the same for the same request.
func requestKey(d *live.Definition) string {
	b := make([]byte, 0, 128)
	add := func(s string) { b = append(strconv.AppendInt(b, int64(len(s)), 10), ':'); b = append(b, s...) }
	list := func(l []string) {
		if l == nil {
			b = append(b, '-')
			return
		}
		b = strconv.AppendInt(b, int64(len(l)), 10)
		for _, s := range l {
			add(s)
		}
	}
	add(d.Table)
	add(d.Where)
	b = strconv.AppendInt(b, int64(len(d.Params)), 10)
	for i := 1; len(d.Params) > 0 && i <= len(d.Params); i++ {
		v, ok := d.Params[strconv.Itoa(i)]
		if !ok {
			return "" // a fault, and not to be kept
		}
		add(v)
	}
	list(d.Columns)
	list(d.Queryable)
	b = append(b, strconv.FormatBool(d.Full)[0], strconv.FormatBool(d.ChangesOnly)[0])
	if d.Account != nil {
		add(*d.Account)
	}
	return string(b)
}

// parameters returns the values of $1 and so on.
func parameters(field string, params map[string]string) ([]string, error) {
	out := make([]string, len(params))
	for i := range out {
		v, ok := params[strconv.Itoa(i+1)]
		if !ok {
			return nil, request(field, "number the parameters from 1, without a gap", "there is no parameter %d", i+1)
		}
		out[i] = v
	}
	return out, nil
}

// resolve returns what a request means as the catalogue is now.
func (h *Hub) resolve(ctx context.Context, d *live.Definition) (*definition, error) {
	key := requestKey(d)
	h.names.mu.Lock()
	def := h.names.resolved[key]
	h.names.mu.Unlock()
	if def != nil && def.table.info.Load() == def.info && def.table.seen.Load() >= h.defined.Load() &&
		(def.decided || def.world == h.world.Load()) {
		return def, nil
	}
	schema, name, err := query.ParseTableName(d.Table)
	if err != nil {
		return nil, request("table", "", "%s", err)
	}
	if schema == "" {
		schema = "public"
	}
	rules := h.rules.Load()
	rule := ruleIn(*rules, schema, name)
	if rule == nil {
		return nil, request("table", "name it in the file of live.tables", "%s.%s is not among the tables that may be followed", schema, name)
	}
	if d.Account != nil && rule.Account == "" {
		return nil, fmt.Errorf("%w: %s.%s has no column that says whose a row is", live.ErrForbidden, schema, name)
	}
	t, err := h.tableNamed(ctx, schema, name)
	if err != nil {
		return nil, err
	}
	i := t.info.Load()
	if i == nil || i.schema != schema || i.name != name {
		return nil, errOutdated
	}
	def = &definition{Definition: *d, table: t, info: i, world: h.world.Load(), tables: i.tables}
	if err = h.columnsOf(ctx, def, rule); err == nil {
		err = h.conditionOf(ctx, def, rule, schema, name)
	}
	if err != nil {
		return nil, h.blame(ctx, def, err)
	}
	def.seal(rule)
	if key == "" {
		return def, nil
	}
	h.names.mu.Lock()
	defer h.names.mu.Unlock()
	if h.rules.Load() != rules {
		return nil, errOutdated // not for those who come after SetRules
	}
	if len(h.names.resolved) >= maxResolved {
		clear(h.names.resolved)
	}
	h.names.resolved[key] = def
	return def, nil
}

// errOutdated: the catalogue moved on meanwhile.
var errOutdated = errors.New("a definition has changed meanwhile")

// seal computes what identifies the definition, and what it rests on.
func (def *definition) seal(rule *Rule) {
	i := def.info
	canonical, _ := json.Marshal(struct { // of strings, numbers and truths
		Table                      catalog.OID
		Schema, Name, Fixed, Where string
		Params                     map[string]string
		AccountColumn              string
		Account                    *string
		Columns                    []string
		Full, ChangesOnly          bool
	}{
		i.oid, i.schema, i.name, rule.Where, def.Where, def.Params, def.text.Account, def.Account,
		def.encoding.columns, def.Full, def.ChangesOnly,
	})
	sum := sha256.Sum256(canonical)
	def.hash = hex.EncodeToString(sum[:10])
	def.mark = def.markIn(i, def.world)
	for n := range def.deps {
		def.deps[n].Reads = i.reads // so that one index serves all conditions on the table
	}
}

// markIn returns the mark of the definition in another state of its table.
func (def *definition) markIn(i *info, w *world) mark {
	tested := func(name string) bool {
		return name == def.text.Account || slices.Contains(def.rows.Mentions, name) ||
			strings.Contains(strings.ToLower(def.text.Fixed), strings.ToLower(name))
	}
	var columns []string
	var more []string
	switch {
	case !def.decided:
		// Postgres is given whole rows.
		more = append(more, w.of(def.text.Fixed, def.text.Where))
	case def.Columns == nil && def.Queryable == nil:
		// All, also those to come.
	default:
		columns = slices.Clone(def.encoding.columns)
		for name := range i.columns {
			if tested(name) {
				columns = append(columns, name)
			}
		}
	}
	return i.markOf(columns, tested, more...)
}

// databaseError sorts what comes from the database.
func databaseError(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.As(err, &pg):
		switch pg.Code[:min(2, len(pg.Code))] {
		case "08", "53", "57", "40", "25":
			return unavailable("%w", err)
		}
		return err
	}
	var re *live.RequestError
	if errors.As(err, &re) || errors.Is(err, errOutdated) || ends(err) {
		return err
	}
	return unavailable("%w", err)
}
