package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/query"
)

// columnsOf decides which columns the shape has, and which may be named.
func (h *Hub) columnsOf(ctx context.Context, def *definition, rule *Rule) error {
	i := def.info
	if i.deferrable {
		return request("table", "make it NOT DEFERRABLE",
			"the primary key of %s.%s is deferrable, so rows may share it within a transaction", i.schema, i.name)
	}
	rows, types, err := h.describe(ctx, i)
	if err != nil {
		return err
	}
	allowed := func(name string) bool { return rule.Columns == nil || slices.Contains(rule.Columns, name) }
	find := func(field, name string) (*live.ColumnRow, error) {
		n := slices.IndexFunc(rows, func(c live.ColumnRow) bool { return c.Name == name })
		switch {
		case n < 0 || !allowed(name):
			return nil, request(field, "", "column %q does not exist", name)
		case rows[n].Generated:
			return nil, request(field, "leave it out", "the column %q is generated, and the log does not carry it", name)
		}
		return &rows[n], nil
	}
	def.visible = nil
	for _, name := range def.Queryable {
		if _, err := find("queryable_columns", name); err != nil {
			return err
		}
	}
	for _, name := range def.Columns {
		if _, err := find("columns", name); err != nil {
			return err
		}
		if def.Queryable != nil && !slices.Contains(def.Queryable, name) {
			return request("columns", "", "column %q is not among queryable_columns", name)
		}
	}
	wanted := def.Columns
	if wanted == nil {
		wanted = def.Queryable
	}
	keyed := slices.ContainsFunc(rows, func(c live.ColumnRow) bool { return c.Key > 0 })
	var columns []live.Column
	var names []string
	var oids []catalog.OID
	for _, c := range rows {
		if allowed(c.Name) && !c.Generated && (def.Queryable == nil || slices.Contains(def.Queryable, c.Name)) {
			def.visible = append(def.visible, c.Name)
		}
		if wanted != nil && !slices.Contains(wanted, c.Name) || wanted == nil && (!allowed(c.Name) || c.Generated) {
			if c.Key > 0 {
				return request("columns", "add it", "the primary key column %q is not among the columns", c.Name)
			}
			continue
		}
		typ, err := types.Type(catalog.OID(c.Type), c.Mod, c.Dims)
		if err != nil {
			return errOutdated
		}
		key := int(c.Key)
		if !keyed {
			key = len(columns) + 1
		}
		columns = append(columns, live.Column{Name: c.Name, Type: typ, NotNull: c.NotNull, Key: key})
		names, oids = append(names, c.Name), append(oids, catalog.OID(c.Type))
	}
	if len(columns) == 0 {
		return request("columns", "", "the shape has no columns")
	}
	id := strconv.FormatBool(def.Full) + "\x00" + strings.Join(names, "\x00")
	i.mu.Lock()
	defer i.mu.Unlock()
	if def.encoding = i.encodings[id]; def.encoding != nil {
		return nil
	}
	enc, err := live.NewEncoder(i.schema, i.name, columns, def.Full)
	if err != nil {
		return request("columns", "", "%s", err)
	}
	def.encoding = &encoding{columns: names, types: oids, encoder: enc, schema: live.Schema(columns)}
	i.encodings[id] = def.encoding
	return nil
}

// conditionOf has the condition analysed and gives its parameters their values.
func (h *Hub) conditionOf(ctx context.Context, def *definition, rule *Rule, schema, name string) error {
	params, err := parameters("params", def.Params)
	if err != nil {
		return err
	}
	def.text = query.ShapeText{
		Table: pgx.Identifier{schema, name}.Sanitize(), Fixed: rule.Where, Where: def.Where, Params: len(params),
	}
	if def.Account != nil {
		def.text.Account = rule.Account
	}
	cond, err := h.analyze(ctx, def.info, def.text, "where", "params")
	if err != nil {
		return err
	}
	if rule.Columns != nil {
		for _, m := range cond.Mentions {
			if !slices.Contains(rule.Columns, m) {
				return request("where", "", "column %q does not exist", m)
			}
		}
	}
	if cond.Table.OID != def.info.oid || len(cond.Tables) != len(def.tables) {
		return errOutdated
	}
	for _, t := range cond.Tables {
		if !t.Partitioned && t.Identity != catalog.IdentityFull {
			return request("table", fmt.Sprintf("run tidemark init, or ALTER TABLE %s REPLICA IDENTITY FULL", pgx.Identifier{t.Schema, t.Name}.Sanitize()),
				"the replica identity of %s is not FULL, so the log does not say what a deleted or updated row was", t)
		}
	}
	if def.Account != nil {
		def.rows, err = cond.BindAccount(*def.Account, params)
	} else {
		def.rows, err = cond.Bind(params)
	}
	if err != nil {
		return parameterError("params", err, def.Account != nil)
	}
	def.decided = def.rows.Decided()
	def.deps = def.rows.Deps()
	return nil
}

// parameterError says what is wrong with a value.
func parameterError(field string, err error, account bool) error {
	var pe *query.ParamError
	switch {
	case errors.As(err, &pe) && account && !strings.HasPrefix(pe.Name, "$"):
		return fmt.Errorf("%w: the account does not have the form of the column that it is compared with", live.ErrForbidden)
	case errors.As(err, &pe):
		return request(field, "", "%s %s", pe.Name, pe.Reason)
	}
	return request(field, "", "%s", err)
}

// analyze asks Postgres what a condition means, once for each state of its table.
// Fields are the names of the parameters that the condition and its values came in.
func (h *Hub) analyze(ctx context.Context, i *info, text query.ShapeText, where, params string) (*query.ShapeCondition, error) {
	w := h.world.Load()
	known := func() *query.ShapeCondition {
		h.names.mu.Lock()
		defer h.names.mu.Unlock()
		if a := h.names.analyses[text]; a != nil && a.info == i && a.world == w {
			return a.cond
		}
		return nil
	}
	if cond := known(); cond != nil {
		return cond, nil
	}
	conn, err := h.pool.Acquire(ctx)
	if err != nil {
		return nil, databaseError(ctx, err)
	}
	// After a restart all followers come at once, with few conditions.
	if cond := known(); cond != nil {
		conn.Release()
		return cond, nil
	}
	cond, problems, err := query.AnalyzeShape(ctx, conn.Conn(), text, h.opts.Query)
	conn.Release()
	if err != nil {
		return nil, databaseError(ctx, err)
	}
	if len(problems) > 0 {
		return nil, h.refused(problems, where)
	}
	h.names.mu.Lock()
	defer h.names.mu.Unlock()
	if len(h.names.analyses) >= maxAnalyses {
		clear(h.names.analyses)
	}
	h.names.analyses[text] = &analysed{i, w, cond}
	return cond, nil
}

// refused makes problems of a condition an error.
func (h *Hub) refused(problems []query.Problem, where string) error {
	p := problems[0]
	switch p.File {
	case query.ShapeWhere:
		return request(where, p.Hint, "%s", p.Message)
	case query.ShapeFixed, query.ShapeAccount:
		h.note.Error("a rule of live.tables does not fit its table", "part", p.File, "problem", p.Message, "hint", p.Hint)
		return request("table", "see what tidemark check says", "the rule for this table does not fit it: %s: %s", p.File, p.Message)
	}
	return request("table", p.Hint, "%s", p.Message)
}
