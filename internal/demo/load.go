package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/examples"
)

// stepMark begins each part of load.sql that is worth a line of progress.
const stepMark = "\n-- step: "

// Load makes the shop's tables in an empty database and fills them: the same
// rows every time. progress may be nil.
func Load(ctx context.Context, conn *pgx.Conn, progress func(step string, took time.Duration)) error {
	schema, err := examples.Shop.ReadFile("shop/schema.sql")
	if err != nil {
		return err
	}
	load, err := examples.Shop.ReadFile("shop/load.sql")
	if err != nil {
		return err
	}
	parts := strings.Split("\n"+string(load), stepMark)
	parts[0] = "tables\n" + string(schema)
	for _, part := range parts {
		name, sql, _ := strings.Cut(part, "\n")
		start := time.Now()
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		if progress != nil {
			progress(name, time.Since(start))
		}
	}
	return nil
}
