package postgres

import (
	"context"
	"time"
)

const (
	collectEvery = 10 * time.Second
	collectBatch = 1000
)

// collect deletes relationships that ended longer ago than versions are kept: no
// answer can depend on them any more. Several tidemarks may do so at a time.
func (b *Backend) collect(ctx context.Context) {
	for pause(ctx, collectEvery) == nil {
		for {
			n, err := b.collectSome(ctx)
			if err != nil && ctx.Err() == nil {
				b.log.Debug("ended relationships could not be deleted", "err", err)
			}
			if n < collectBatch {
				break
			}
		}
	}
}

func (b *Backend) collectSome(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, collectEvery)
	defer cancel()
	tag, err := b.pool.Exec(ctx, `WITH ended AS MATERIALIZED (
			SELECT `+keyColumns+`, expires_at FROM tidemark.relationships
			WHERE expires_at < now() - $1 * interval '1 microsecond' LIMIT $2 FOR UPDATE SKIP LOCKED)
		DELETE FROM tidemark.relationships r USING ended k WHERE `+sameKey, b.opts.Window.Microseconds(), collectBatch)
	return tag.RowsAffected(), err
}
