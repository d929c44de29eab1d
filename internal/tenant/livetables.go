package tenant

import (
	"context"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/rules"
	"github.com/tidemarkdb/tidemark/internal/live/table"
)

// Open implements live.Tables.
func (f *followedTables) Open(ctx context.Context, d live.Definition, handle string) (live.Shape, error) {
	if err := f.await(ctx); err != nil {
		return nil, err
	}
	return f.hub.Open(ctx, d, handle)
}

// Subset implements live.Tables.
func (f *followedTables) Subset(ctx context.Context, d live.Definition, s live.Subset) ([]byte, error) {
	if err := f.await(ctx); err != nil {
		return nil, err
	}
	return f.hub.Subset(ctx, d, s)
}

// Delete implements live.Tables.
func (f *followedTables) Delete(ctx context.Context, d *live.Definition, handle string) error {
	if err := f.await(ctx); err != nil {
		return err
	}
	return f.hub.Delete(ctx, d, handle)
}

// Tables serves shapes of tables; nil if none may be followed.
func (t *Tenant) Tables() live.Tables {
	if t.tables == nil {
		return nil
	}
	return t.tables
}

// ReloadTables reads again which tables may be followed. If the file is not in
// order, everything stays, and the error says why.
func (t *Tenant) ReloadTables() error {
	f := t.tables
	if f == nil {
		return nil
	}
	file, err := rules.Load(f.o.Tables)
	if err != nil {
		return err
	}
	f.opening.Lock()
	defer f.opening.Unlock()
	f.rules.Store(tableRules(file))
	if f.hub != nil {
		f.hub.SetRules(*f.rules.Load())
	}
	return nil
}

// tableRules are the rules of a file as a hub takes them.
func tableRules(f *rules.File) *[]table.Rule {
	out := make([]table.Rule, len(f.Rules))
	for i := range f.Rules {
		r := &f.Rules[i]
		out[i] = table.Rule{Schema: r.Schema, Table: r.Table, Where: r.Where, Columns: r.Columns, Account: r.Account}
	}
	return &out
}
