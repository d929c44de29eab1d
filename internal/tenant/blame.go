package tenant

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// dataException reports a value that Postgres refuses: class 22, and what a
// domain does not allow.
func dataException(err error) (*pgconn.PgError, bool) {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return nil, false
	}
	return pg, strings.HasPrefix(pg.Code, "22") || pg.Code == "23514" || pg.Code == "23502"
}

// blame finds out whether a data exception is the fault of the parameters rather
// than of a row, by having Postgres look at the parameters where there are no
// rows: their types read them, as do those that the statement turns them into, and
// the planner evaluates what else the statement makes of them alone. What neither refuses may have come from a row, and is the
// statement's. The name is that of the parameter, where one alone is at fault.
//
// The connection is in no transaction.
func blame(ctx context.Context, conn *pgconn.PgConn, b *query.Binding, failed *pgconn.PgError) (name string, err *pgconn.PgError, parameter bool) {
	types := b.Endpoint.ParamTypes()
	params := b.Endpoint.Params
	for i, t := range types {
		if pg, is := refused(ctx, conn, "SELECT $1", b.Args[i:i+1], []uint32{t}); is {
			return params[i].Name, pg, true
		}
	}
	for _, c := range b.Coerced() {
		pg, is := refused(ctx, conn, "SELECT $1", [][]byte{c.Text}, []uint32{c.Type})
		if is && pg.Code == failed.Code && pg.ConstraintName == failed.ConstraintName && pg.DataTypeName == failed.DataTypeName {
			return c.Param, pg, true
		}
	}
	if name, negative := b.NegativeLimit(); negative && (failed.Code == "2201W" || failed.Code == "2201X") {
		return name, failed, true
	}
	explain := "EXPLAIN " + b.Endpoint.SQL
	pg, is := refused(ctx, conn, explain, b.Args, types)
	if !is || pg.Code != failed.Code {
		return "", nil, false
	}
	// Who can be left out is not at fault, and who cannot is, if nobody else is.
	at := -1
	for i := range types {
		if b.Args[i] == nil {
			continue
		}
		without := slices.Clone(b.Args)
		without[i] = nil
		if _, still := refused(ctx, conn, explain, without, types); still {
			continue
		}
		if at >= 0 {
			return "", pg, true
		}
		at = i
	}
	if at >= 0 {
		name = params[at].Name
	}
	return name, pg, true
}

// refused runs a statement and reports the data exception with which it fails.
func refused(ctx context.Context, conn *pgconn.PgConn, sql string, args [][]byte, types []uint32) (*pgconn.PgError, bool) {
	if conn.IsClosed() {
		return nil, false
	}
	return dataException(conn.ExecParams(ctx, sql, args, types, nil, nil).Read().Err)
}
