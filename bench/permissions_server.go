package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/cli"
)

// openCommand runs a tidemark command line in a process of its own. It is ready
// at once: what it serves may take a while.
func openCommand(parent context.Context, args []string, _ *slog.Logger) (any, served, func(), error) {
	ctx, cancel := context.WithCancel(parent)
	ended := make(chan struct{})
	go func() {
		cli.Run(ctx, args, nil, io.Discard, os.Stderr, nil)
		close(ended)
	}()
	answer := func(_ context.Context, command string, _ []string) (any, error) {
		switch command {
		case "alive":
			select {
			case <-ended:
				return nil, errEnded
			default:
				return nil, nil
			}
		case "memory":
			m := memory{Resident: resident()} // before the collection
			m.Heap = heap()
			return m, nil
		}
		return nil, fmt.Errorf("unknown command %q", command)
	}
	stop := func() {
		cancel()
		<-ended
	}
	return nil, answer, stop, nil
}

// key opens permissions.
const key = "bench"

// authority is a tidemark that serves permissions, seen from its clients.
type authority struct {
	*child
	addr  string
	dir   string
	slot  string
	conns []*grpc.ClientConn
}

// prepareAuthority writes a configuration and sets the database up for it.
func prepareAuthority(ctx context.Context, db *database, slot string) (_ *authority, err error) {
	a := &authority{slot: slot}
	if a.dir, err = os.MkdirTemp("", "tidemark-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if err := os.Mkdir(filepath.Join(a.dir, "endpoints"), 0o755); err != nil {
		return nil, err
	}
	addrs := make([]string, 3)
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	a.addr = addrs[0]
	config := fmt.Sprintf(`database: %q
endpoints: ./endpoints
slot: %s
publication: %s
listen: {grpc: %q, http: %q, admin: %q}
permissions: {keys: %s}
`, db.dsn, slot, publication, addrs[0], addrs[1], addrs[2], key)
	if err := os.WriteFile(a.config(), []byte(config), 0o600); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if code := cli.Run(ctx, []string{"init", "--yes", "--config=" + a.config()}, nil, &out, &out, nil); code != 0 {
		return nil, fmt.Errorf("tidemark init: exit code %d\n%s", code, &out)
	}
	return a, nil
}

func (a *authority) config() string { return filepath.Join(a.dir, "tidemark.yaml") }

// start starts the server and connects to it.
func (a *authority) start(cpus []int) (err error) {
	if a.child, err = startChild(cpus, nil, "tidemark", "serve", "--log-level=warn", "--config="+a.config()); err != nil {
		return err
	}
	for range permissionConns {
		conn, err := dialPermissions(a.addr)
		if err != nil {
			return err
		}
		a.conns = append(a.conns, conn)
	}
	return nil
}

// client returns the n-th client's side of a connection.
func (a *authority) client(n int) v1.PermissionsServiceClient {
	return v1.NewPermissionsServiceClient(a.conns[n%len(a.conns)])
}

// await polls a check until it is answered, whatever the answer.
func (a *authority) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		_, err := a.client(0).CheckPermission(ctx, &v1.CheckPermissionRequest{
			Consistency: fullyConsistent.request(), Resource: reference("document", documentID, 0), Permission: "view",
			Subject: &v1.SubjectReference{Object: reference("user", userID, 0)},
		})
		switch status.Code(err) {
		case codes.OK, codes.FailedPrecondition: // which is the lack of a schema
			return nil
		case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument:
			return err
		}
		if gone := a.ask(nil, "alive"); gone != nil {
			return gone
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("no check is answered: %w", err)
		}
	}
}

// stop ends the server, and leaves what it was configured with.
func (a *authority) stop() error {
	for _, conn := range a.conns {
		_ = conn.Close()
	}
	a.conns = nil
	if a.child == nil {
		return nil
	}
	err := a.child.close()
	a.child = nil
	return err
}

func (a *authority) close() {
	_ = a.stop()
	_ = os.RemoveAll(a.dir)
}

// rows reads relationships as COPY wants them.
type rows struct {
	next func() (relationship, bool)
	rest []byte
	buf  []byte
}

func (r *rows) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		b := r.buf[:0]
		for len(b) < 1<<16 {
			rel, ok := r.next()
			if !ok {
				break
			}
			b = rel.appendRow(b)
		}
		r.buf, r.rest = b, b
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fill puts an office into the table, past every server. Indexes are built
// afterwards, which takes a fraction of the time.
func (db *database) fill(ctx context.Context, o *office, slot string) (n int64, err error) {
	if err := db.exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '"+slot+"'"); err != nil {
		return 0, err
	}
	drop, create, err := db.indexes(ctx, "tidemark.relationships")
	if err != nil {
		return 0, err
	}
	if err := db.exec(ctx, drop...); err != nil {
		return 0, err
	}
	next, stop := iter.Pull(o.relationships)
	defer stop()
	tag, err := db.admin.PgConn().CopyFrom(ctx, &rows{next: next},
		"COPY tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id, subject_relation) FROM STDIN")
	if err != nil {
		return 0, err
	}
	if err := db.exec(ctx, append(create, "RESET maintenance_work_mem")...); err != nil {
		return 0, err
	}
	if _, err := db.admin.Exec(ctx, "INSERT INTO tidemark.permission_schemas (definition) VALUES ($1)", officeSchema); err != nil {
		return 0, err
	}
	return tag.RowsAffected(), db.settle(ctx)
}

// indexes returns what takes the indexes of a table away, and what brings them
// back.
func (db *database) indexes(ctx context.Context, table string) (drop, create []string, err error) {
	create = []string{"SET maintenance_work_mem = '1GB'"}
	rows, err := db.admin.Query(ctx, `
		SELECT 'ALTER TABLE ' || $1 || ' DROP CONSTRAINT ' || quote_ident(conname),
		       'ALTER TABLE ' || $1 || ' ADD CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid)
		FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('p', 'u')
		UNION ALL
		SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
		FROM pg_index WHERE indrelid = $1::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)`, table)
	if err != nil {
		return nil, nil, err
	}
	var away, back string
	_, err = pgx.ForEachRow(rows, []any{&away, &back}, func() error {
		drop, create = append(drop, away), append(create, back)
		return nil
	})
	return drop, create, err
}
