package table

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// table is one table of which there are shapes.
type table struct {
	oid catalog.OID
	// seen is how many changes of definitions (Hub.defined) have been looked at.
	seen atomic.Uint64
	info atomic.Pointer[info] // nil: it is not there any more
}

// info is what the catalogue says of a table and those below it, as far as it
// shows in its shapes. It is immutable.
//
// Lines are texts of what must not change unnoticed. They hold what tells a thing
// from another that took its place: object ids, row versions, file numbers. So
// two infos that are equal say that nothing changed in between either. Files
// change with TRUNCATE and with every rewriting of a table, VACUUM FULL included.
type info struct {
	oid          catalog.OID
	schema, name string
	tables       map[catalog.OID]bool
	common       []string
	columns      map[string][]string // the lines of a column and its type
	labels       map[string][]string // of enums in a column; more may come
	deferrable   bool                // the primary key is
	reads        *match.Reads

	mu        sync.Mutex
	described bool
	desc      []live.ColumnRow
	types     live.Types
	encodings map[string]*encoding
}

// equal reports whether nothing changed.
func (i *info) equal(o *info) bool {
	return slices.Equal(i.common, o.common) && i.markOf(nil, always).Exact == o.markOf(nil, always).Exact
}

// world is what conditions that only Postgres can decide may rest on beside
// their table: functions, operators and casts that did not come with Postgres.
type world struct {
	functions map[string]string // by name
	all       string
	operators string
}

// of returns what a condition with these texts may rest on.
func (w *world) of(texts ...string) string {
	out, calls := []string{w.operators}, false
	for name, line := range w.functions {
		for _, text := range texts {
			if strings.Contains(strings.ToLower(text), strings.ToLower(name)) {
				out, calls = append(out, line), true
				break
			}
		}
	}
	if calls {
		out = append(out, w.all) // which one function may call
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// mark is what of an info must not change for a shape.
type mark struct {
	Exact  string   `json:"exact"`
	Labels []string `json:"labels,omitempty"`
}

// fits reports whether nothing changed that o, of a shape, rests on.
func (o mark) fits(m mark) bool {
	return o.Exact == m.Exact && !slices.ContainsFunc(o.Labels, func(l string) bool { return !slices.Contains(m.Labels, l) })
}

func always(string) bool { return true }

// markOf returns the mark of some columns; nil means all. Of strict ones no enum may
// have a label more.
func (i *info) markOf(columns []string, strict func(column string) bool, more ...string) mark {
	h := sha256.New()
	line := func(s string) { fmt.Fprintf(h, "%d %s\n", len(s), s) }
	for _, c := range i.common {
		line(c)
	}
	if columns == nil {
		for name := range i.columns {
			columns = append(columns, name)
		}
	}
	columns = slices.Clone(columns)
	sort.Strings(columns)
	var m mark
	for _, name := range slices.Compact(columns) {
		line("column " + name)
		for _, c := range i.columns[name] {
			line(c)
		}
		if strict(name) {
			for _, l := range i.labels[name] {
				line(l)
			}
		} else {
			m.Labels = append(m.Labels, i.labels[name]...)
		}
	}
	for _, s := range more {
		line(s)
	}
	m.Exact = hex.EncodeToString(h.Sum(nil))
	return m
}

const lookSQL = `
WITH RECURSIVE roots(oid) AS (
	SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid = ANY ($1::oid[]) OR (n.nspname = $2::name AND c.relname = $3::name)
), tree(root, oid) AS (
	SELECT oid, oid FROM roots
	UNION SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
), above(root, oid) AS (
	SELECT root, oid FROM tree
	UNION SELECT a.root, i.inhparent FROM above a JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.oid
), types(root, name, oid) AS (
	SELECT r.oid, a.attname, a.atttypid FROM roots r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
	UNION SELECT types.root, types.name, part.oid FROM types JOIN pg_catalog.pg_type t ON t.oid = types.oid
	CROSS JOIN LATERAL (
		SELECT t.typbasetype WHERE t.typbasetype <> 0
		UNION ALL SELECT t.typelem WHERE t.typelem <> 0
		UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
			WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
		UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid
	) part(oid)
)
SELECT r.oid, 'schema', ''::text, n.nspname::text FROM roots r JOIN pg_catalog.pg_class c ON c.oid = r.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL SELECT r.oid, 'name', '', c.relname::text FROM roots r JOIN pg_catalog.pg_class c ON c.oid = r.oid
UNION ALL SELECT t.root, 'table', t.oid::text, concat_ws(' ', 'table', c.oid, c.relkind, c.relpersistence, c.relreplident, c.relfilenode,
		c.relrowsecurity, c.relforcerowsecurity, pg_catalog.has_table_privilege(c.oid, 'SELECT'))
	FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid
UNION ALL SELECT r.oid, 'common', '', concat_ws(' ', 'named', n.nspname, c.relname)
	FROM roots r JOIN pg_catalog.pg_class c ON c.oid = r.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL SELECT t.root, 'common', '', concat_ws(' ', 'inherits', i.inhrelid, i.inhparent, i.xmin)
	FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
UNION ALL SELECT r.oid, 'common', '', concat_ws(' ', 'key', k.oid, k.conkey) FROM roots r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'p'
UNION ALL SELECT r.oid, 'deferrable', '', '' FROM roots r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'p' WHERE k.condeferrable
UNION ALL SELECT r.oid, 'common', '', concat_ws(' ', 'publication', p.oid, p.xmin) FROM roots r, pg_catalog.pg_publication p WHERE p.pubname = $4
UNION ALL SELECT a.root, 'common', '', concat_ws(' ', 'published', pr.oid, pr.xmin)
	FROM above a JOIN pg_catalog.pg_publication_rel pr ON pr.prrelid = a.oid JOIN pg_catalog.pg_publication p ON p.oid = pr.prpubid AND p.pubname = $4
UNION ALL SELECT r.oid, 'column', a.attname::text, concat_ws(' ', 'column', a.attnum, a.atttypid, a.atttypmod, a.attgenerated, a.attcollation)
	FROM roots r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT types.root, 'column', types.name::text, concat_ws(' ', 'type', t.oid, t.typtype, t.typbasetype, t.typtypmod, t.typoutput::oid,
		(SELECT string_agg(concat_ws(':', a.attnum, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)
		 FROM pg_catalog.pg_attribute a WHERE t.typrelid <> 0 AND t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0))
	FROM types JOIN pg_catalog.pg_type t ON t.oid = types.oid
UNION ALL SELECT types.root, 'label', types.name::text, concat_ws(' ', 'label', e.oid, e.xmin, e.enumsortorder, e.enumlabel)
	FROM types JOIN pg_catalog.pg_enum e ON e.enumtypid = types.oid`

// From Postgres 15 on, a publication can name schemas.
const lookSchemasSQL = `
UNION ALL SELECT a.root, 'common', '', concat_ws(' ', 'published', pn.oid, pn.xmin)
	FROM above a JOIN pg_catalog.pg_class c ON c.oid = a.oid JOIN pg_catalog.pg_publication_namespace pn ON pn.pnnspid = c.relnamespace
	JOIN pg_catalog.pg_publication p ON p.oid = pn.pnpubid AND p.pubname = $4`

const worldSQL = `
SELECT 'function', lower(proname::text), md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_catalog.pg_proc WHERE oid >= 16384 GROUP BY 2
UNION ALL SELECT 'operator', '', md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_catalog.pg_operator WHERE oid >= 16384
UNION ALL SELECT 'operator', '', md5(string_agg(concat_ws(' ', oid, xmin), ',' ORDER BY oid)) FROM pg_catalog.pg_cast WHERE oid >= 16384`

// looked is what the catalogue said at one snapshot.
type looked struct {
	snapshot revision.Snapshot
	tables   map[catalog.OID]*info
	world    *world
}

// look reads the catalogue for tables, by oid and one by name.
func (h *Hub) look(ctx context.Context, oids []uint32, schema, name string) (*looked, error) {
	out := &looked{tables: map[catalog.OID]*info{}, world: &world{functions: map[string]string{}}}
	if oids == nil {
		oids = []uint32{}
	}
	err := h.question(ctx, func(conn *pgx.Conn) error {
		var version int
		var snap string
		err := conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_current_snapshot()::text").Scan(&version, &snap)
		if err != nil {
			return err
		}
		if out.snapshot, err = revision.ParseSnapshot(snap); err != nil {
			return err
		}
		sql := lookSQL
		if version >= 150000 {
			sql += lookSchemasSQL
		}
		rows, err := conn.Query(ctx, sql, oids, schema, name, h.opts.Query.Publication)
		if err != nil {
			return err
		}
		var root uint32
		var kind, what, line string
		if _, err := pgx.ForEachRow(rows, []any{&root, &kind, &what, &line}, func() error {
			out.line(catalog.OID(root), kind, what, line)
			return nil
		}); err != nil {
			return err
		}
		if rows, err = conn.Query(ctx, worldSQL); err != nil {
			return err
		}
		var sum *string
		_, err = pgx.ForEachRow(rows, []any{&kind, &what, &sum}, func() error {
			switch {
			case sum == nil:
			case kind == "function":
				out.world.functions[what] = *sum
			default:
				out.world.operators += " " + *sum
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, i := range out.tables {
		i.reads = &match.Reads{Name: i.schema + "." + i.name}
		for oid := range i.tables {
			i.reads.Tables = append(i.reads.Tables, oid)
		}
		sort.Strings(i.common)
		for _, lines := range i.columns {
			sort.Strings(lines)
		}
		for _, lines := range i.labels {
			sort.Strings(lines)
		}
	}
	var all []string
	for name, line := range out.world.functions {
		all = append(all, name+" "+line)
	}
	sort.Strings(all)
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	out.world.all = hex.EncodeToString(sum[:])
	return out, nil
}

func (l *looked) line(root catalog.OID, kind, what, line string) {
	i := l.tables[root]
	if i == nil {
		i = &info{
			oid: root, tables: map[catalog.OID]bool{}, columns: map[string][]string{}, labels: map[string][]string{},
			encodings: map[string]*encoding{},
		}
		l.tables[root] = i
	}
	switch kind {
	case "schema":
		i.schema = line
	case "name":
		i.name = line
	case "table":
		var oid uint32
		if _, err := fmt.Sscan(what, &oid); err == nil {
			i.tables[catalog.OID(oid)] = true
		}
		i.common = append(i.common, line)
	case "common":
		i.common = append(i.common, line)
	case "deferrable":
		i.deferrable = true
		i.common = append(i.common, kind)
	case "column":
		i.columns[what] = append(i.columns[what], line)
	case "label":
		i.labels[what] = append(i.labels[what], line)
	}
}

// describe reads the columns of a table and their types, once.
func (h *Hub) describe(ctx context.Context, i *info) ([]live.ColumnRow, live.Types, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.described {
		return i.desc, i.types, nil
	}
	err := h.question(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, live.ColumnsSQL, uint32(i.oid))
		if err != nil {
			return err
		}
		if i.desc, err = pgx.CollectRows(rows, pgx.RowToStructByPos[live.ColumnRow]); err != nil {
			return err
		}
		var oids []uint32
		for _, c := range i.desc {
			oids = append(oids, c.Type)
		}
		if rows, err = conn.Query(ctx, live.TypesSQL, oids); err != nil {
			return err
		}
		types, err := pgx.CollectRows(rows, pgx.RowToStructByPos[live.TypeRow])
		i.types = live.NewTypes(types)
		return err
	})
	i.described = err == nil
	return i.desc, i.types, err
}

// question runs f in a read-only transaction of one snapshot, with the settings
// in which clients get values. The questions at one time are bounded.
func (h *Hub) question(ctx context.Context, f func(*pgx.Conn) error) error {
	select {
	case h.asking <- struct{}{}:
		defer func() { <-h.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return h.transaction(ctx, f)
}

// Compiling a statement takes longer than what is asked here.
var beginSQL = func() string {
	b := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off"
	for _, s := range query.ShapeSettings() {
		b += "; SET LOCAL " + s.Name + " = '" + s.Value + "'"
	}
	return b
}()

func (h *Hub) transaction(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := h.pool.Acquire(ctx)
	if err != nil {
		return databaseError(ctx, err)
	}
	defer conn.Release() // closes one that is still in a transaction
	if _, err = conn.Conn().PgConn().Exec(ctx, beginSQL).ReadAll(); err == nil {
		err = f(conn.Conn())
	}
	if conn.Conn().IsClosed() {
		return databaseError(ctx, err)
	}
	if _, end := conn.Conn().PgConn().Exec(ctx, "ROLLBACK").ReadAll(); err == nil {
		err = end
	}
	return databaseError(ctx, err)
}
