package oracle

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// The slot of the oracle's own, and its publication: from them comes the order
// of commits, by a decoder that has nothing to do with tidemark's.
const (
	orderSlot        = "oracle_order"
	orderPublication = "oracle_order"
)

// commit is one transaction in the log.
type commit struct {
	xid      uint32
	lsn, end revision.LSN
	at       time.Time
}

// epoch is where the timestamps of the protocol begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// commits reads the order of everything committed since the slot was made. The
// messages are described in "Logical Replication Message Formats" of the
// Postgres manual.
func commits(ctx context.Context, conn *pgx.Conn) ([]commit, error) {
	rows, err := conn.Query(ctx, `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
		'proto_version', '1', 'publication_names', $2, 'messages', 'true')
		WHERE get_byte(data, 0) IN (ascii('B'), ascii('C'))`, orderSlot, orderPublication)
	if err != nil {
		return nil, err
	}
	var all []commit
	var data []byte
	var open commit
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		switch {
		case data[0] == 'B' && len(data) == 21:
			open = commit{lsn: revision.LSN(binary.BigEndian.Uint64(data[1:])), xid: binary.BigEndian.Uint32(data[17:])}
		case data[0] == 'C' && len(data) == 26:
			if lsn := revision.LSN(binary.BigEndian.Uint64(data[2:])); lsn != open.lsn {
				return fmt.Errorf("transaction %d begins with %s and ends with %s", open.xid, open.lsn, lsn)
			}
			open.end = revision.LSN(binary.BigEndian.Uint64(data[10:]))
			open.at = epoch.Add(time.Duration(binary.BigEndian.Uint64(data[18:])) * time.Microsecond)
			all = append(all, open)
		default:
			return fmt.Errorf("message %q of %d bytes", data[0], len(data))
		}
		return nil
	})
	return all, err
}

// ordered keeps the transactions that the log has, and puts them in its order.
// It returns those that are not in the log as well.
func ordered(txs []*transaction, log []commit, over lives) (in, lost []*transaction) {
	// After a crash the ids of what was lost are given again, to tidemark's own
	// transactions too.
	type name struct {
		xid  uint32
		life int
	}
	names := map[name]*transaction{}
	for _, tx := range txs {
		names[name{uint32(tx.xid), tx.life}] = tx
	}
	for _, c := range log {
		if tx := names[name{c.xid, over.at(c.at)}]; tx != nil {
			tx.end = c.end
		}
	}
	for _, tx := range txs {
		if tx.end != 0 {
			in = append(in, tx)
		} else {
			lost = append(lost, tx)
		}
	}
	sort.Slice(in, func(i, j int) bool { return in[i].end < in[j].end })
	return in, lost
}
