package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// preconditions asks for each whether it holds, and keeps what it found from
// going away before the transaction ends.
func (b *Backend) preconditions(ctx context.Context, tx pgx.Tx, conditions []perm.Precondition) error {
	if len(conditions) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	found := make([]bool, len(conditions))
	for i, p := range conditions {
		sql, args := b.exists(&p.Filter)
		batch.Queue(sql, args...).QueryRow(func(row pgx.Row) error { return row.Scan(&found[i]) })
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	for i, p := range conditions {
		if found[i] == p.Absent {
			return &perm.PreconditionError{Precondition: p}
		}
	}
	return nil
}

// unexpired leaves out what has ended and was not collected yet.
const (
	unexpired       = "(expires_at IS NULL OR expires_at > now())"
	unexpiredMapped = "(expires IS NULL OR expires > extract(epoch FROM now()) * 1000000)"
)

// rules returns the SELECTs of the mapped relations that a filter may match.
func (b *Backend) rules(f *graph.Filter) []string {
	if b.opts.Mapping == nil {
		return nil
	}
	var out []string
	for _, r := range b.opts.Mapping.Rules {
		if (f.ResourceType == "" || f.ResourceType == r.ResourceType()) && (f.Relation == "" || f.Relation == r.Relation()) {
			out = append(out, r.Select())
		}
	}
	return out
}

// exists returns a statement that says whether some relationship matches,
// written or mapped.
func (b *Backend) exists(f *graph.Filter) (string, []any) {
	cond, args := where(f, nil)
	var sql strings.Builder
	fmt.Fprintf(&sql, "SELECT EXISTS (SELECT FROM (SELECT FROM tidemark.relationships WHERE (%s) AND %s LIMIT 1 FOR KEY SHARE) r)", cond, unexpired)
	for _, rule := range b.rules(f) {
		fmt.Fprintf(&sql, " OR EXISTS (SELECT FROM (%s) m WHERE (%s) AND %s)", rule, cond, unexpiredMapped)
	}
	return sql.String(), args
}

// Delete implements perm.Backend. What the application's own tables mean is not
// deleted.
func (b *Backend) Delete(ctx context.Context, d perm.Deletion) (out perm.Deleted, err error) {
	check := func(*perm.Version) error {
		if f := &d.Filter; f.ResourceType != "" && f.Relation != "" && b.Mapped(f.ResourceType, f.Relation) {
			return &perm.MappedError{Type: f.ResourceType, Relation: f.Relation}
		}
		return nil
	}
	run := func(ctx context.Context, tx pgx.Tx, _ *perm.Version) error {
		if err := b.preconditions(ctx, tx, d.Preconditions); err != nil {
			return err
		}
		if err := note(ctx, tx, d.Metadata); err != nil {
			return err
		}
		cond, args := where(&d.Filter, nil)
		if d.Limit == 0 {
			tag, err := tx.Exec(ctx, "DELETE FROM tidemark.relationships WHERE "+cond, args...)
			out.Count = uint64(tag.RowsAffected())
			return err
		}
		// Locked in one order, as all writers do. One more than the limit tells
		// whether there are more.
		args = append(args, int64(d.Limit))
		sql := fmt.Sprintf(`WITH picked AS MATERIALIZED (
				SELECT %[1]s FROM tidemark.relationships WHERE %[2]s ORDER BY %[1]s LIMIT $%[3]d::bigint + 1 FOR UPDATE),
			gone AS (
				DELETE FROM tidemark.relationships r USING (SELECT * FROM picked ORDER BY %[1]s LIMIT $%[3]d::bigint) k
				WHERE %[4]s RETURNING 1)
			SELECT (SELECT count(*) FROM picked), (SELECT count(*) FROM gone)`, keyColumns, cond, len(args), sameKey)
		var picked, gone int64
		if err := tx.QueryRow(ctx, sql, args...).Scan(&picked, &gone); err != nil {
			return err
		}
		out.Count, out.More = uint64(gone), picked > int64(d.Limit)
		if out.More && !d.Partial {
			return perm.ErrTooMany
		}
		return nil
	}
	out.Token, err = b.transact(ctx, transaction{alone: restsOnAbsence(d.Preconditions), check: check, run: run})
	if err != nil {
		return perm.Deleted{}, err
	}
	return out, nil
}

// Import implements perm.Backend.
func (b *Backend) Import(ctx context.Context, next func() ([]tuple.Relationship, error)) (count uint64, err error) {
	// How long one takes is up to its client, so some connections are left to others.
	select {
	case b.imports <- struct{}{}:
		defer func() { <-b.imports }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	source := &importing{backend: b, next: next}
	begun := false
	_, err = b.transact(ctx, transaction{late: true, run: func(ctx context.Context, tx pgx.Tx, v *perm.Version) error {
		if begun {
			// What the client sent is gone; only it can begin again.
			return fmt.Errorf("%w: the import met other writers; send it again", perm.ErrSerialization)
		}
		begun, source.version = true, v
		// The client decides how long this takes.
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		n, err := tx.CopyFrom(ctx, pgx.Identifier{"tidemark", "relationships"},
			strings.Split(allColumns, ", "), source)
		count = uint64(n)
		if source.err != nil {
			return source.err
		}
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "23505" {
			return &perm.ExistsError{Relationship: find(pgErr.Detail)}
		}
		return err
	}})
	if err != nil {
		return 0, err
	}
	return count, nil
}

// importing feeds COPY.
type importing struct {
	backend *Backend
	version *perm.Version
	next    func() ([]tuple.Relationship, error)
	batch   []tuple.Relationship
	i       int
	err     error
}

func (s *importing) Next() bool {
	if s.err != nil {
		return false
	}
	for s.i++; s.i >= len(s.batch); {
		s.batch, s.err = s.next()
		if s.err != nil || s.batch == nil {
			return false
		}
		s.i = 0
	}
	s.err = s.backend.writable(s.version, perm.Update{Op: perm.Create, Relationship: s.batch[s.i]})
	return s.err == nil
}

func (s *importing) Values() ([]any, error) {
	r := &s.batch[s.i]
	return []any{
		r.Resource.Type, r.Resource.ID, r.Relation, r.Subject.Type, r.Subject.ID, r.Subject.Relation,
		orNil(r.Caveat), orNil(r.Context), expiry(r.Expires),
	}, nil
}

func (s *importing) Err() error { return s.err }

// find reads the relationship from the detail of a uniqueness error, which ends
// in its key's values, such as =(document, plan, viewer, user, ana, ).
func find(detail string) (r tuple.Relationship) {
	_, list, _ := strings.Cut(detail, "=(")
	if end := strings.LastIndexByte(list, ')'); end >= 0 {
		list = list[:end]
	}
	values := strings.Split(list, ", ")
	for i, p := range scanKey(&r) {
		if i < len(values) {
			*p.(*string) = values[i]
		}
	}
	return r
}
