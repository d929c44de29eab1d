package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// The load does not slow down when the server does: every client has a time for
// each request, and what is late counts from then.
const (
	stormClients = 8
	stormPace    = 8 * time.Millisecond // of one client: 1,000 requests per second of each kind
)

// observed is one request of the load.
type observed struct {
	due  time.Time
	took time.Duration
	hit  bool
	shed bool // 503
}

// reading asks for answers at a pace until the context ends.
func (st *storm) reading(ctx context.Context, asks []*ask) ([]observed, error) {
	out, errs := make([][]observed, stormClients), make([]error, stormClients)
	var all sync.WaitGroup
	start := time.Now()
	for i := range stormClients {
		all.Go(func() {
			conn := newHTTPConn(st.tide.addr)
			defer conn.close()
			due := start.Add(time.Duration(i) * stormPace / stormClients)
			for n := i; ctx.Err() == nil; n += stormClients {
				time.Sleep(time.Until(due))
				r, err := conn.get(asks[n*stride%len(asks)].request)
				if err == nil && r.status != 200 && r.status != 503 {
					err = fmt.Errorf("%w: %s%s", errResponse, r.head, r.body)
				}
				if err != nil {
					errs[i] = err
					return
				}
				out[i] = append(out[i], observed{
					due: due, took: time.Since(due), shed: r.status == 503,
					hit: bytes.Contains(r.head, []byte("\r\nCache-Status: tidemark; hit")),
				})
				due = due.Add(stormPace)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(out...), nil
}

// tidemarks counts the connections of everybody but those that measure.
const tidemarks = `SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench' AND backend_type IN ('client backend', 'walsender') AND pid <> ALL ($1)`

// watch samples what tidemark uses until the context ends.
func (st *storm) watch(ctx context.Context, conn *pgx.Conn, ours []int32) (connections int, resident int64, err error) {
	for ctx.Err() == nil {
		var n int
		if err := conn.QueryRow(context.WithoutCancel(ctx), tidemarks, ours).Scan(&n); err != nil {
			return 0, 0, err
		}
		connections, resident = max(connections, n), max(resident, residentOf(st.tide.pid))
		_ = sleep(ctx, 5*time.Millisecond)
	}
	return connections, resident, nil
}

// residentOf returns the bytes of a process that are in memory.
func residentOf(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// recovery notes what became of the answers that were touched, and returns when
// the last of them was missed.
func (r *stormRound) recovery(others []observed, begin, committed time.Time) time.Time {
	end := committed
	for _, o := range others {
		at := o.due.Add(o.took)
		if o.shed {
			r.sheds++
		} else if !o.hit && at.After(begin) {
			r.misses++
			if at.After(end) {
				end = at
			}
		}
	}
	r.recovered = end.Sub(committed)
	return end
}

// latency is the p99 of the hits that were due in between.
func latency(all []observed, from, until time.Time) time.Duration {
	var out []time.Duration
	for _, o := range all {
		if o.hit && !o.due.Before(from) && o.due.Before(until) {
			out = append(out, o.took)
		}
	}
	slices.Sort(out)
	return quantile(out, 0.99)
}
