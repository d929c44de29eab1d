package table

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// maxSubset bounds the bytes of a subset.
const maxSubset = 64 << 20

// Subset implements live.Tables. The snapshot holds every transaction that a
// follower may have been told of when it asked, so that its rows are not older than
// what the follower has.
func (h *Hub) Subset(ctx context.Context, d live.Definition, sub live.Subset) ([]byte, error) {
	if h.session.Load() == 0 {
		return nil, unavailable("the log is not being followed yet")
	}
	told := h.visible.Load().Load()
	deadline := time.Now().Add(h.opts.WaitTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		def, err := h.resolve(ctx, &d)
		var out []byte
		if err == nil {
			out, err = h.subset(ctx, def, &sub, told)
		}
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, errAgain) && !errors.Is(err, errOutdated) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, unavailable("%w", err)
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
		if errors.Is(err, errOutdated) {
			if err := h.lookAgain(ctx); err != nil {
				return nil, err
			}
		}
	}
}

func (h *Hub) subset(ctx context.Context, def *definition, sub *live.Subset, told revision.LSN) ([]byte, error) {
	more, err := h.selection(ctx, def, sub)
	if err != nil {
		return nil, h.blame(ctx, def, err)
	}
	session, frontier := h.session.Load(), h.host.Frontier()
	low, err := h.low(ctx)
	if err != nil {
		return nil, err
	}
	var snap revision.Snapshot
	var upper, after revision.LSN
	var rows []byte
	mark := rand.Uint32() >> 1
	err = h.question(ctx, func(conn *pgx.Conn) error {
		if err := readSnapshot(ctx, conn, &snap, &upper); err != nil {
			return err
		}
		if h.lacks(&snap, def.tables) {
			return again("a transaction that the log brought before is not visible yet")
		}
		if told > low {
			to, err := h.firstLacking(&snap, def.tables, low, told)
			switch {
			case errors.Is(err, keep.ErrTrimmed):
				return again("%w", err)
			case err != nil:
				return unavailable("%w", err)
			case to < told:
				return again("a transaction that followers know of is not visible yet")
			}
		}
		err := h.readRows(ctx, conn, def, more, func(row change.Row) error {
			var err error
			rows, err = def.encoding.encoder.AppendMarked(rows, nil, row, 0, mark)
			if len(rows) > maxSubset {
				return request("limit", "ask for fewer rows", "the subset has more than %d MiB", maxSubset>>20)
			}
			return err
		})
		if err != nil {
			return err
		}
		var text string
		if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
			return err
		}
		after, err = revision.ParseLSN(text)
		return err
	})
	if err != nil {
		return nil, h.blame(ctx, def, err)
	}
	if err := h.unchanged(ctx, def); err != nil {
		return nil, err
	}
	// Nothing that a crash of the database could take back is given out.
	if err := h.reach(ctx, after); err != nil {
		return nil, err
	}
	if h.session.Load() != session || h.host.Frontier() != frontier {
		return nil, again("the log was connected anew")
	}
	return live.AppendSubset(nil, &snap, mark, upper, rows), nil
}

// selection reads what a subset asks for.
func (h *Hub) selection(ctx context.Context, def *definition, sub *live.Subset) (*selection, error) {
	out := &selection{}
	_, own, _ := def.rows.SQL()
	params, err := parameters("subset__params", sub.Params)
	if err != nil {
		return nil, err
	}
	if sub.Where != "" || len(params) > 0 {
		text := query.ShapeText{
			Table: pgx.Identifier{def.info.schema, def.info.name}.Sanitize(), Where: sub.Where, Params: len(params),
		}
		cond, err := h.analyze(ctx, def.info, text, "subset__where", "subset__params")
		if err != nil {
			return nil, err
		}
		for _, m := range cond.Mentions {
			if !slices.Contains(def.visible, m) {
				return nil, request("subset__where", "", "column %q does not exist, or is not queryable", m)
			}
		}
		rows, err := cond.Bind(params)
		if err != nil {
			return nil, parameterError("subset__params", err, false)
		}
		out.where, out.args, out.types = rows.SQLAfter(len(own))
	}
	if sub.OrderBy != "" {
		items, err := query.ParseOrderBy(sub.OrderBy, def.visible)
		if err != nil {
			return nil, request("subset__order_by", "", "%s", err)
		}
		out.suffix += " ORDER BY " + query.OrderSQL(items, def.info.name)
	}
	if (sub.Limit != nil || sub.Offset != nil) && sub.OrderBy == "" {
		return nil, request("subset__order_by", "", "a limit or an offset needs an order")
	}
	number := func(field, word string, v *int64, least int64) error {
		if v == nil {
			return nil
		}
		if *v < least {
			return request(field, "", "it is %d, and has to be %d or more", *v, least)
		}
		out.args = append(out.args, strconv.AppendInt(nil, *v, 10))
		out.types = append(out.types, 20) // bigint
		out.suffix += " " + word + " $" + strconv.Itoa(len(own)+len(out.args))
		return nil
	}
	if err := number("subset__limit", "LIMIT", sub.Limit, 1); err != nil {
		return nil, err
	}
	if err := number("subset__offset", "OFFSET", sub.Offset, 0); err != nil {
		return nil, err
	}
	return out, nil
}
