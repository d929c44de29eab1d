package query

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// firstUserOID is the lowest object id that Postgres gives to what users make
// (FirstNormalObjectId); everything below came with initdb.
const firstUserOID = 16384

// server reads the system catalogs inside one transaction, each object once.
//
// The first failure sticks: later calls return empty objects, and the caller
// looks at err when it is done. That keeps the walk over a query free of error
// handling that could only pass it on.
type server struct {
	ctx context.Context
	tx  pgx.Tx
	err error

	version int    // server_version_num
	role    uint32 // current_user
	// foreignBytes says that the server's machine lays out constants in another
	// way than little-endian; they are then not decoded.
	foreignBytes bool

	relations map[uint32]*relation
	functions map[uint32]*function
	types     map[uint32]*typeInfo
	operators map[uint32]*operator
	collation map[uint32]bool
	roles     map[uint32]*roleInfo
	trees     map[string]nodetree.Value
}

// newServer begins a transaction that the caller rolls back.
func newServer(ctx context.Context, tx pgx.Tx) *server {
	return &server{
		ctx: ctx, tx: tx,
		relations: map[uint32]*relation{},
		functions: map[uint32]*function{},
		types:     map[uint32]*typeInfo{},
		operators: map[uint32]*operator{},
		collation: map[uint32]bool{},
		roles:     map[uint32]*roleInfo{},
		trees:     map[string]nodetree.Value{},
	}
}

func (s *server) fail(what string, err error) {
	if s.err == nil {
		s.err = fmt.Errorf("read %s: %w", what, err)
	}
}

// row reads one row. It returns false when there is none, or on failure.
func (s *server) row(what, sql string, args []any, dest ...any) bool {
	if s.err != nil {
		return false
	}
	err := s.tx.QueryRow(s.ctx, sql, args...).Scan(dest...)
	if err == nil {
		return true
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		s.fail(what, err)
	}
	return false
}

// column1 reads the only column of all rows.
func column1[T any](s *server, what, sql string, args ...any) []T {
	if s.err != nil {
		return nil
	}
	rows, err := s.tx.Query(s.ctx, sql, args...)
	if err == nil {
		var out []T
		if out, err = pgx.CollectRows(rows, pgx.RowTo[T]); err == nil {
			return out
		}
	}
	s.fail(what, err)
	return nil
}

// each calls scan with every row about a list of objects.
func (s *server) each(what, sql string, oids []uint32, scan func(pgx.CollectableRow) error) {
	if s.err != nil {
		return
	}
	rows, err := s.tx.Query(s.ctx, sql, oids)
	for err == nil && rows.Next() {
		err = scan(rows)
	}
	if rows != nil {
		rows.Close()
		if err == nil {
			err = rows.Err()
		}
	}
	if err != nil {
		s.fail(what, err)
	}
}

// tree parses node tree text, once.
func (s *server) tree(text string) nodetree.Value {
	if text == "" || s.err != nil {
		return nodetree.Value{}
	}
	if v, ok := s.trees[text]; ok {
		return v
	}
	v, err := nodetree.Parse(text)
	if err != nil {
		s.fail("a query tree", err)
		return nodetree.Value{}
	}
	normalise(v)
	s.trees[text] = v
	return v
}

// normalise gives nodes the tags that Postgres 16 and later write.
func normalise(v nodetree.Value) {
	nodetree.Each(v, func(n *nodetree.Node) {
		switch n.Tag {
		case "RTE":
			n.Tag = "RANGETBLENTRY"
		case "CASE":
			n.Tag = "CASEEXPR"
		case "WHEN":
			n.Tag = "CASEWHEN"
		case "ARRAY":
			n.Tag = "ARRAYEXPR"
		case "ROW":
			n.Tag = "ROWEXPR"
		case "ROWCOMPARE":
			n.Tag = "ROWCOMPAREEXPR"
		case "COALESCE":
			n.Tag = "COALESCEEXPR"
		case "MINMAX":
			n.Tag = "MINMAXEXPR"
		case "COLLATE":
			n.Tag = "COLLATEEXPR"
		}
		for i := range n.Fields {
			normalise(n.Fields[i].Value)
		}
	})
}
