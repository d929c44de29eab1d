package oracle

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// between returns a random time.
func between(r *rand.Rand, lo, hi int) time.Duration {
	return time.Duration(lo+r.IntN(hi-lo)) * time.Millisecond
}

// holdCommits makes commits wait for a standby that does not exist, and lets
// them go again. Meanwhile they are in the log, and no query sees them.
func holdCommits(ctx context.Context, run *run, r *rand.Rand) {
	hold := func(names string) {
		if err := run.server.Reload(map[string]string{"synchronous_standby_names": names}); err != nil {
			run.Error(err)
		}
	}
	defer hold("")
	for ctx.Err() == nil {
		hold("nobody")
		pause(ctx, between(r, 20, 250))
		hold("")
		pause(ctx, between(r, 10, 80))
	}
}

// slowLog keeps the log from tidemark for a while, and nothing else.
func slowLog(ctx context.Context, run *run, r *rand.Rand) {
	defer run.proxy.hold(false)
	for ctx.Err() == nil {
		run.proxy.hold(true)
		pause(ctx, between(r, 20, 400))
		run.proxy.hold(false)
		pause(ctx, between(r, 10, 200))
	}
}

// admin runs one statement on a connection of its own.
func (run *run) admin(sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, run.db.DSN()+"&synchronous_commit=local")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, args...)
	return err
}

// killConnections ends the walsender, and now and then the other connections of
// tidemark.
func killConnections(ctx context.Context, run *run, r *rand.Rand) {
	for ctx.Err() == nil {
		pause(ctx, between(r, 20, 300))
		whom := "backend_type = 'walsender'"
		if chance(r, 25) {
			whom = "application_name LIKE 'tidemark%'"
		}
		if err := run.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND " + whom); err != nil {
			run.Error(err)
		}
	}
}

// dropSlot takes the slot away. tidemark makes a new one, and knows nothing of
// what was committed in between.
func dropSlot(ctx context.Context, run *run, r *rand.Rand) {
	for ctx.Err() == nil {
		run.between(ctx, r, 200, 600)
		for range 100 {
			_ = run.admin("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'tidemark' AND active_pid IS NOT NULL")
			if run.admin("SELECT pg_drop_replication_slot('tidemark')") == nil {
				break
			}
			pause(ctx, 2*time.Millisecond)
		}
	}
}

// between pauses until a random time has passed and something was answered
// since the last fault: where the machine is busy, that takes longer.
func (run *run) between(ctx context.Context, r *rand.Rand, lo, hi int) {
	before := run.answered()
	pause(ctx, between(r, lo, hi))
	for patience := time.Now().Add(5 * time.Second); ctx.Err() == nil && run.answered() < before+10 && time.Now().Before(patience); {
		pause(ctx, 10*time.Millisecond)
	}
}

// killTidemark kills the process and starts it again.
func killTidemark(ctx context.Context, run *run, r *rand.Rand) {
	for ctx.Err() == nil {
		run.between(ctx, r, 250, 900)
		run.subject.killChild()
		pause(ctx, between(r, 0, 100))
		if err := run.subject.startChild(); err != nil {
			run.Error(err)
		}
	}
}

// freezeTidemark stops the process in the middle of whatever it does, and lets
// it go on.
func freezeTidemark(ctx context.Context, run *run, r *rand.Rand) {
	for ctx.Err() == nil {
		pause(ctx, between(r, 50, 300))
		run.subject.signalChild(syscall.SIGSTOP)
		pause(ctx, between(r, 20, 500))
		run.subject.signalChild(syscall.SIGCONT)
	}
}

// restartPostgres restarts the server, in order or by a crash.
func restartPostgres(ctx context.Context, run *run, r *rand.Rand) {
	for ctx.Err() == nil {
		run.between(ctx, r, 300, 1200)
		var err error
		over := life{ended: time.Now(), crashed: true}
		switch r.IntN(4) {
		case 0:
			over.crashed = false
			err = run.server.Stop("fast")
		case 1:
			err = run.server.Stop("immediate")
		default:
			err = run.server.Kill()
		}
		if err != nil {
			run.Error(err)
		}
		over.next = time.Now()
		run.lives = append(run.lives, over)
		run.life.Add(1)
		if err := run.server.Start(); err != nil {
			run.Error(err)
			return
		}
	}
}
