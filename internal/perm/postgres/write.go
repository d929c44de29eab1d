package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// lockKey is the advisory lock that orders writes made by calls. Each takes it
// shared; those that rest on the absence of something, and those that change the
// schema, take it alone.
const lockKey = 0x7469_6465_7065_726d

// attempts bounds how often a write that met others is tried again.
const attempts = 8

// errAgain means that a transaction was rolled back and should be tried again.
var errAgain = errors.New("try again")

// transaction is one write of a call.
type transaction struct {
	// alone says that it rests on what is absent, or changes the schema.
	alone bool
	// late says that it takes long: the lock is taken at its end.
	late bool
	// mends says that it may run though the schema does not compile.
	mends bool
	// check says whether a version allows it.
	check func(*perm.Version) error
	// run makes it. What it is validated against is the schema in the database when
	// it commits.
	run func(ctx context.Context, tx pgx.Tx, v *perm.Version) error
}

// transact runs a transaction and returns its token once the log has brought it.
func (b *Backend) transact(ctx context.Context, t transaction) (string, error) {
	fully := t.late // what it consumes cannot be had again
	for n := 0; ; n++ {
		v, err := b.newest(ctx, fully)
		if err == nil && v.Broken != nil && !t.mends {
			err = v.Broken
		}
		if err == nil && t.check != nil {
			err = t.check(v)
		}
		if err != nil {
			if fully || v == nil {
				return "", err
			}
			// The schema may be another already.
			fully = true
			continue
		}
		fully = true
		token, err := b.attempt(ctx, &t, v)
		if err == nil {
			return token, nil
		}
		var pgErr *pgconn.PgError
		again := errors.Is(err, errAgain) || errors.As(err, &pgErr) && (pgErr.Code == "40001" || pgErr.Code == "40P01")
		if !again {
			return "", databaseError(err)
		}
		if n+1 >= attempts {
			return "", fmt.Errorf("%w (%w)", perm.ErrSerialization, err)
		}
		if err := pause(ctx, time.Duration(n+1)*time.Millisecond); err != nil {
			return "", err
		}
	}
}

func (b *Backend) attempt(ctx context.Context, t *transaction, v *perm.Version) (string, error) {
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	release := sync.OnceFunc(conn.Release)
	defer release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer func() {
		// Nothing happens after a commit. The context may be over.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(end)
	}()
	if !t.late {
		if err := lock(ctx, tx, t.alone, v); err != nil {
			return "", err
		}
	}
	if err := t.run(ctx, tx, v); err != nil {
		return "", err
	}
	if t.late {
		if err := lock(ctx, tx, t.alone, v); err != nil {
			return "", err
		}
	}
	token, err := b.tokenOf(ctx, tx)
	if err != nil {
		return "", err
	}
	if token.Kind == revision.KindPosition {
		// Nothing was written: the token names what the transaction saw.
		return token.String(), tx.Commit(ctx)
	}
	applied, giveUp := b.state.Await(token.XID)
	defer giveUp()
	if err := tx.Commit(ctx); err != nil {
		return "", err
	}
	release() // others may write while the log is waited for
	return b.confirm(ctx, applied, token.String()), nil
}

// tokenOf is tidemark.token() for a transaction of our own: it names the
// transaction, or, if it has written nothing, a position behind all that it saw.
func (b *Backend) tokenOf(ctx context.Context, tx pgx.Tx) (revision.Token, error) {
	var xid *int64
	var insert, timeline string
	err := tx.QueryRow(ctx, `SELECT pg_current_xact_id_if_assigned()::text::bigint, l::text, left(pg_walfile_name(l), 8)
		FROM pg_current_wal_insert_lsn() l`).Scan(&xid, &insert, &timeline)
	if err != nil {
		return revision.Token{}, err
	}
	t := revision.Token{Source: b.host.Frontier().Source}
	if t.LSN, err = revision.ParseLSN(insert); err != nil {
		return t, err
	}
	n, err := strconv.ParseUint(timeline, 16, 32)
	t.Source.Timeline = uint32(n)
	if xid != nil {
		t.Kind, t.XID = revision.KindTransaction, revision.XID(*xid)
	}
	return t, err
}

// lock orders a transaction among those of other calls, and makes certain that the
// schema is the one that it is validated against. The statement after the lock
// sees what those committed that had it.
func lock(ctx context.Context, tx pgx.Tx, alone bool, v *perm.Version) error {
	take := "pg_advisory_xact_lock_shared"
	if alone {
		take = "pg_advisory_xact_lock"
	}
	var version int64
	batch := &pgx.Batch{}
	batch.Queue("SELECT "+take+"($1)", int64(lockKey))
	batch.Queue("SELECT coalesce(max(version), 0) FROM tidemark.permission_schemas").QueryRow(func(row pgx.Row) error {
		return row.Scan(&version)
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if version != v.SchemaVersion {
		return errAgain
	}
	return nil
}

// confirm waits a moment for the log to bring a transaction, so that its token
// names where it ends. Of one that changed nothing in the end the log says
// nothing; then the token names a position behind it. Otherwise it names the
// transaction by its id.
func (b *Backend) confirm(ctx context.Context, applied <-chan revision.LSN, token string) string {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	b.host.Hurry()
	select {
	case lsn := <-applied:
		return b.host.Token(lsn)
	case <-ctx.Done():
		return token
	case <-time.After(confirmGrace):
	}
	frontier := b.host.Frontier()
	pos, err := b.host.Ask(ctx)
	if err != nil || pos.Source != frontier.Source || frontier.Wait(ctx, pos.Insert) != nil {
		return token
	}
	select {
	case lsn := <-applied:
		return b.host.Token(lsn)
	default:
		return b.host.Token(pos.Insert)
	}
}

const (
	confirmGrace   = 10 * time.Millisecond
	confirmTimeout = time.Second
)

// Write implements perm.Backend.
func (b *Backend) Write(ctx context.Context, w perm.Write) (string, error) {
	updates := slices.Clone(w.Updates)
	// One order for everybody keeps writers from waiting for each other in circles.
	slices.SortFunc(updates, func(x, y perm.Update) int { return compareKeys(x.Relationship, y.Relationship) })
	check := func(v *perm.Version) error {
		for i := range w.Updates {
			if err := b.writable(v, w.Updates[i]); err != nil {
				return err
			}
		}
		return nil
	}
	run := func(ctx context.Context, tx pgx.Tx, _ *perm.Version) error {
		if err := b.preconditions(ctx, tx, w.Preconditions); err != nil {
			return err
		}
		if err := note(ctx, tx, w.Metadata); err != nil {
			return err
		}
		return apply(ctx, tx, updates)
	}
	return b.transact(ctx, transaction{alone: restsOnAbsence(w.Preconditions), check: check, run: run})
}

func compareKeys(x, y tuple.Relationship) int {
	return cmp.Or(cmp.Compare(x.Resource.Type, y.Resource.Type), cmp.Compare(x.Resource.ID, y.Resource.ID),
		cmp.Compare(x.Relation, y.Relation), cmp.Compare(x.Subject.Type, y.Subject.Type),
		cmp.Compare(x.Subject.ID, y.Subject.ID), cmp.Compare(x.Subject.Relation, y.Subject.Relation))
}

func restsOnAbsence(conditions []perm.Precondition) bool {
	return slices.ContainsFunc(conditions, func(p perm.Precondition) bool { return p.Absent })
}

// note tells watchers what the writer said about the transaction. Only the log is
// meant to have it, so the row goes at once.
func note(ctx context.Context, tx pgx.Tx, metadata string) error {
	if metadata == "" {
		return nil
	}
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO tidemark.relationship_metadata (metadata) VALUES ($1)", metadata)
	batch.Queue("DELETE FROM tidemark.relationship_metadata WHERE xid = pg_current_xact_id()")
	return tx.SendBatch(ctx, batch).Close()
}

// columns are the parameters of statements over many relationships.
type columns struct {
	resourceType, resourceID, relation, subjectType, subjectID, subjectRelation []string
	caveat, context                                                             []*string
	expires                                                                     []*time.Time
}

func (c *columns) add(r tuple.Relationship) {
	c.resourceType = append(c.resourceType, r.Resource.Type)
	c.resourceID = append(c.resourceID, r.Resource.ID)
	c.relation = append(c.relation, r.Relation)
	c.subjectType = append(c.subjectType, r.Subject.Type)
	c.subjectID = append(c.subjectID, r.Subject.ID)
	c.subjectRelation = append(c.subjectRelation, r.Subject.Relation)
	c.caveat = append(c.caveat, orNil(r.Caveat))
	c.context = append(c.context, orNil(r.Context))
	c.expires = append(c.expires, expiry(r.Expires))
}

func (c *columns) keys() []any {
	return []any{c.resourceType, c.resourceID, c.relation, c.subjectType, c.subjectID, c.subjectRelation}
}

func (c *columns) all() []any { return append(c.keys(), c.caveat, c.context, c.expires) }

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func expiry(micros int64) *time.Time {
	if micros == 0 {
		return nil
	}
	t := time.UnixMicro(micros)
	return &t
}

const (
	keyColumns = "resource_type, resource_id, relation, subject_type, subject_id, subject_relation"
	allColumns = keyColumns + ", caveat, context, expires_at"
	rColumns   = "r.resource_type, r.resource_id, r.relation, r.subject_type, r.subject_id, r.subject_relation"
	// sameKey is a condition for rows of r and k.
	sameKey    = "(" + rColumns + ") = (k.resource_type, k.resource_id, k.relation, k.subject_type, k.subject_id, k.subject_relation)"
	unnestKeys = "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]"
	unnestAll  = unnestKeys + ", $7::text[], $8::jsonb[], $9::timestamptz[])"
)

const (
	// A planner that knows nothing of the table yet, or takes a list of keys for
	// long, would read all of it.
	byIndexSQL = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
		set_config('enable_mergejoin', 'off', true)`
	deleteSQL = `WITH locked AS MATERIALIZED (
			SELECT ` + rColumns + ` FROM tidemark.relationships r JOIN ` + unnestKeys + `) WITH ORDINALITY AS k(` + keyColumns + `, n)
			ON ` + sameKey + ` ORDER BY k.n FOR UPDATE OF r)
		DELETE FROM tidemark.relationships r USING locked k WHERE ` + sameKey
	touchSQL = `INSERT INTO tidemark.relationships AS r (` + allColumns + `) SELECT * FROM ` + unnestAll + `
		ON CONFLICT (` + keyColumns + `) DO UPDATE
		SET caveat = excluded.caveat, context = excluded.context, expires_at = excluded.expires_at
		WHERE (r.caveat, r.context, r.expires_at) IS DISTINCT FROM (excluded.caveat, excluded.context, excluded.expires_at)`
	createSQL = `INSERT INTO tidemark.relationships (` + allColumns + `) SELECT * FROM ` + unnestAll + `
		ON CONFLICT DO NOTHING RETURNING ` + keyColumns
)

// apply makes the updates, which are in order of their keys, and locks rows in
// this order: a statement for each run of one operation.
func apply(ctx context.Context, tx pgx.Tx, updates []perm.Update) error {
	batch := &pgx.Batch{}
	created := make(map[tuple.Relationship]bool)
	for i := 0; i < len(updates); {
		var run columns
		op := updates[i].Op
		for ; i < len(updates) && updates[i].Op == op; i++ {
			run.add(updates[i].Relationship)
		}
		switch op {
		case perm.Delete:
			batch.Queue(byIndexSQL)
			batch.Queue(deleteSQL, run.keys()...)
		case perm.Touch:
			batch.Queue(touchSQL, run.all()...)
		case perm.Create:
			batch.Queue(createSQL, run.all()...).Query(func(rows pgx.Rows) error {
				var r tuple.Relationship
				_, err := pgx.ForEachRow(rows, scanKey(&r), func() error {
					created[r] = true
					return nil
				})
				return err
			})
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	for _, u := range updates {
		if u.Op == perm.Create && !created[u.Key()] {
			return &perm.ExistsError{Relationship: u.Relationship}
		}
	}
	return nil
}

func scanKey(r *tuple.Relationship) []any {
	return []any{&r.Resource.Type, &r.Resource.ID, &r.Relation, &r.Subject.Type, &r.Subject.ID, &r.Subject.Relation}
}
