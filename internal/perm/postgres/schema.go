package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// WriteSchema implements perm.Backend.
func (b *Backend) WriteSchema(ctx context.Context, text string) (string, error) {
	sch, err := schema.Parse(text)
	if err != nil {
		return "", err
	}
	if err := b.fitsMapping(sch); err != nil {
		return "", err
	}
	return b.transact(ctx, transaction{alone: true, mends: true, run: func(ctx context.Context, tx pgx.Tx, v *perm.Version) error {
		old := v.Schema
		if v.Broken != nil {
			var err error
			if old, err = lastGood(ctx, tx); err != nil {
				return err
			}
		}
		if old != nil {
			for _, drop := range schema.Dropped(old, sch) {
				if err := b.refuseOrphans(ctx, tx, drop); err != nil {
					return err
				}
			}
		}
		_, err := tx.Exec(ctx, "INSERT INTO tidemark.permission_schemas (definition) VALUES ($1)", sch.Text())
		return err
	}})
}

// lastGood returns the newest schema that compiles, or nil.
func lastGood(ctx context.Context, tx pgx.Tx) (*schema.Schema, error) {
	rows, err := tx.Query(ctx, "SELECT definition FROM tidemark.permission_schemas ORDER BY version DESC LIMIT 100")
	if err != nil {
		return nil, err
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		if sch, err := schema.Parse(text); err == nil {
			return sch, nil
		}
	}
	return nil, nil
}

// refuseOrphans looks for a relationship that rests on what a schema would take
// away.
func (b *Backend) refuseOrphans(ctx context.Context, tx pgx.Tx, drop schema.Drop) error {
	cond, args := orphans(drop)
	var r tuple.Relationship
	err := tx.QueryRow(ctx, "SELECT "+keyColumns+" FROM tidemark.relationships WHERE "+cond+" LIMIT 1", args...).Scan(scanKey(&r)...)
	switch err {
	case nil:
		return &perm.OrphanError{Dropped: drop, Relationship: r}
	case pgx.ErrNoRows:
		return nil
	}
	return err
}

// SetCounter implements perm.Backend.
func (b *Backend) SetCounter(ctx context.Context, name string, filter *graph.Filter) error {
	_, err := b.transact(ctx, transaction{mends: true, run: func(ctx context.Context, tx pgx.Tx, _ *perm.Version) error {
		if filter == nil {
			tag, err := tx.Exec(ctx, "DELETE FROM tidemark.relationship_counters WHERE name = $1", name)
			if err == nil && tag.RowsAffected() == 0 {
				err = perm.ErrNoCounter
			}
			return err
		}
		text, err := json.Marshal(filter)
		if err != nil {
			return fmt.Errorf("encode the filter: %w", err)
		}
		tag, err := tx.Exec(ctx, "INSERT INTO tidemark.relationship_counters (name, filter) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, string(text))
		if err == nil && tag.RowsAffected() == 0 {
			err = perm.ErrCounterExists
		}
		return err
	}})
	return err
}
