package tenant

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/perm/postgres"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// PermissionOptions configure a tenant's permissions.
type PermissionOptions struct {
	Mapping     string // file that says which rows mean relationships; empty: none
	Connections int    // for writes; 8
}

// Permissions returns the tenant's permissions, or nil where they are off.
func (t *Tenant) Permissions() perm.Backend {
	if t.perms == nil {
		return nil
	}
	return t.perms
}

// PermissionStatus says how permissions are; false where they are off.
func (t *Tenant) PermissionStatus() (postgres.Status, bool) {
	if t.perms == nil {
		return postgres.Status{}, false
	}
	return t.perms.Status(), true
}

// openPermissions prepares what Run then loads.
func (t *Tenant) openPermissions(ctx context.Context) error {
	o := t.opts.Permissions
	if o == nil {
		return nil
	}
	var m *mapping.Mapping
	if o.Mapping != "" {
		var err error
		if m, err = mapping.Load(o.Mapping); err != nil {
			return err
		}
		m.Publication = t.opts.Publication
	}
	conn, err := pgx.ConnectConfig(ctx, t.config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabaseGone, withoutSecret(err))
	}
	defer closeConn(conn)
	if err := published(ctx, conn, t.opts.Publication); err != nil {
		return err
	}
	if m != nil {
		if _, err := m.Bind(ctx, conn); err != nil {
			return err
		}
	}
	config, err := pgxpool.ParseConfig(t.opts.Database)
	if err != nil {
		return fmt.Errorf("database: %w", withoutSecret(err))
	}
	config.ConnConfig = t.config.Copy()
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "off"
	config.MaxConns = 8
	if o.Connections > 0 {
		config.MaxConns = int32(o.Connections)
	}
	if t.permPool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	t.perms = postgres.New(postgres.Options{
		Config: t.config, Pool: t.permPool, Host: (*permissionHost)(t), Mapping: m,
		Window: t.opts.GCWindow, WaitTimeout: t.opts.WaitTimeout, PollInterval: t.opts.PollInterval, Log: t.log,
	})
	return nil
}

// runPermissions loads and sweeps them until ctx ends.
func (t *Tenant) runPermissions(ctx context.Context) {
	if t.perms != nil {
		t.perms.Run(ctx)
	}
}

// published says what is missing before permissions can be followed.
func published(ctx context.Context, conn *pgx.Conn, publication string) error {
	rows, err := conn.Query(ctx, `
		SELECT n.name FROM unnest($1::text[]) AS n(name)
		WHERE NOT EXISTS (SELECT FROM pg_publication_tables p
			WHERE p.pubname = $2 AND p.schemaname = 'tidemark' AND p.tablename = n.name)`, postgres.Tables, publication)
	if err != nil {
		return err
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("permissions need tidemark.%s in publication %s: run tidemark init",
			strings.Join(missing, ", tidemark."), publication)
	}
	return nil
}

// permissionHost is what the tenant lends to its permissions.
type permissionHost Tenant

func (h *permissionHost) tenant() *Tenant { return (*Tenant)(h) }

// Pass implements postgres.Host.
func (h *permissionHost) Pass(ctx context.Context, req revision.Requirement) (revision.Passage, error) {
	t := h.tenant()
	return t.gate(t.store.Frontier()).Pass(ctx, req)
}

// Frontier implements postgres.Host.
func (h *permissionHost) Frontier() *revision.Frontier { return h.tenant().store.Frontier() }

// Ask implements postgres.Host.
func (h *permissionHost) Ask(ctx context.Context) (revision.Position, error) {
	return h.tenant().primary.Ask(ctx)
}

// Silent implements postgres.Host.
func (h *permissionHost) Silent() bool {
	t := h.tenant()
	return t.session.Load() == nil || t.silent.Load()
}

// Hurry implements postgres.Host.
func (h *permissionHost) Hurry() { h.tenant().feed.RequestReply() }

// Token implements postgres.Host.
func (h *permissionHost) Token(lsn revision.LSN) string {
	t := h.tenant()
	return t.token(t.store.Frontier().Source, lsn, true)
}

// Lacks implements postgres.Host.
func (h *permissionHost) Lacks(snap *revision.Snapshot, tables map[catalog.OID]bool) bool {
	return h.tenant().store.Lacks(snap, tables)
}

// knownToPermissions reports whether a relation is one of ours, about which the
// endpoints need not be analysed again.
func knownToPermissions(rel *catalog.Relation) bool { return rel.Schema == "tidemark" }
