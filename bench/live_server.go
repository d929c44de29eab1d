package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/internal/cli"
)

// openLive runs a tidemark command line that can be weighed.
func openLive(ctx context.Context, args []string, log *slog.Logger) (any, served, func(), error) {
	ready, serve, stop, err := openCommand(ctx, args, log)
	if err != nil {
		return nil, nil, nil, err
	}
	answer := func(ctx context.Context, command string, args []string) (any, error) {
		switch command {
		case "weigh":
			return weigh(), nil
		case "heap":
			f, err := os.Create(args[0])
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return nil, pprof.WriteHeapProfile(f)
		}
		return serve(ctx, command, args)
	}
	return ready, answer, stop, nil
}

// weight is the memory of a process in bytes, after a collection.
type weight struct {
	Resident, Heap, Stacks int64
	Goroutines             int
}

func weigh() weight {
	runtime.GC()
	debug.FreeOSMemory() // collects again, so that what had a finalizer is gone
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return weight{Resident: resident(), Heap: int64(m.HeapAlloc), Stacks: int64(m.StackInuse), Goroutines: runtime.NumGoroutine()}
}

// shaper is a tidemark whose shapes are followed. What it keeps on disk outlives
// the process.
type shaper struct {
	*child
	addr, admin string
	dir         string
}

// liveEndpoints is the answer that is followed.
var liveEndpoints = map[string]string{
	"latest.sql": `-- GET /v1/customers/{id}/latest
-- key: id
SELECT o.id, o.serial, o.status, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id
WHERE o.customer_id = :id ORDER BY o.serial DESC, o.id LIMIT 10
`,
}

const liveTables = "tables: [orders]\n"

// prepareShaper writes a configuration and sets the database up for it.
func prepareShaper(ctx context.Context, db *database, slot string) (_ *shaper, err error) {
	sh := &shaper{}
	if sh.dir, err = os.MkdirTemp("", "tidemark-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			sh.close()
		}
	}()
	for _, at := range []*string{&sh.addr, &sh.admin} {
		if *at, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	files := maps.Clone(liveEndpoints)
	for _, name := range slices.Collect(maps.Keys(files)) {
		files[filepath.Join("endpoints", name)] = files[name]
		delete(files, name)
	}
	files["live.yaml"] = liveTables
	// Without a window no snapshot is pinned, for which Postgres would keep every
	// version of the few rows that are written so often.
	files["tidemark.yaml"] = fmt.Sprintf(`database: %q
endpoints: ./endpoints
slot: %s
publication: %s
listen: {http: %q, admin: %q}
live: {tables: live.yaml}
consistency: {gc_window: 0s}
`, db.dsn, slot, publication, sh.addr, sh.admin)
	if err := os.Mkdir(filepath.Join(sh.dir, "endpoints"), 0o755); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(sh.dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	if code := cli.Run(ctx, []string{"init", "--yes", "--config=" + sh.config()}, nil, &out, &out, nil); code != 0 {
		return nil, fmt.Errorf("tidemark init: exit code %d\n%s", code, &out)
	}
	return sh, nil
}

func (sh *shaper) config() string { return filepath.Join(sh.dir, "tidemark.yaml") }

// start starts the server and waits until shapes are served.
func (sh *shaper) start(ctx context.Context, cpus []int) (err error) {
	if sh.child, err = startChild(cpus, nil, "live", "serve", "--log-level=warn", "--config="+sh.config()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		r, err := (&followerConn{ctx: ctx, addr: sh.addr}).get("/v1/health")
		if err == nil && r.status == 200 {
			return nil
		}
		if gone := sh.ask(nil, "alive"); gone != nil {
			return gone
		}
		if sleep(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("no shape is served: %w, status %d", err, r.status)
		}
	}
}

// await waits until a number of requests wait for what comes next.
func (sh *shaper) await(ctx context.Context, c *crowd, n int) error {
	var err error
	var last time.Time
	in := &instance{admin: sh.admin}
	werr := c.until(ctx, fmt.Sprintf("%d followers wait", n), func() bool {
		if time.Since(last) < 20*time.Millisecond {
			return false // to tell it takes time
		}
		last = time.Now()
		var m metrics
		m, err = in.metrics()
		return err != nil || int(m["tidemark_live_waiting"]) >= n
	})
	return errors.Join(werr, err)
}

// profiled runs f, with a CPU profile of the server where path is not empty.
func (sh *shaper) profiled(path string, f func() error) error {
	if path == "" {
		return f()
	}
	return sh.profile(path, f)
}

// rest waits until the server has nothing left to do, and returns the CPU time
// that it has used up to then.
func (sh *shaper) rest(ctx context.Context) (time.Duration, error) {
	return (&scaled{instance: &instance{pid: sh.pid}, name: "tidemark"}).quiet(ctx)
}

// stop ends the process, and leaves what it keeps.
func (sh *shaper) stop() error {
	if sh.child == nil {
		return nil
	}
	err := sh.child.close()
	sh.child = nil
	return err
}

func (sh *shaper) close() {
	_ = sh.stop()
	_ = os.RemoveAll(sh.dir)
}
