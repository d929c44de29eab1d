package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// publicClient is where a load client that others made stands, from the module's
// root. It has a model and an oracle of its own.
const publicClient = "../shared/bench/spicedb-load"

// publicModes are its workloads and levels.
var publicModes = []struct{ workload, level string }{
	{"check", "min"},
	{"check", "fresh"},
	{"check", "exact"},
	{"check", "full"},
	{"bulk", "min"},
	{"bulk", "fresh"},
	{"bulk", "exact"},
	{"bulk", "full"},
	{"lookup-resources", "min"},
	{"lookup-resources", "fresh"},
	{"lookup-resources", "exact"},
	{"lookup-resources", "full"},
	{"lookup-subjects", "min"},
	{"lookup-subjects", "fresh"},
	{"lookup-subjects", "exact"},
	{"lookup-subjects", "full"},
	{"write", "min"},
	{"ryw", "min"},
	{"mixed", "min"},
	{"mixed", "full"},
}

// publicResult is a line of what it prints.
type publicResult struct {
	Ops        int
	OpsPerSec  float64 `json:"ops_per_s"`
	CPU        float64 `json:"server_cpu_us_per_op"`
	Wrong      int64
	Errors     int64
	FirstError string `json:"first_error"`
}

// runPublicClient has the public client load its data beside what is there, and
// ask in every mode.
func runPublicClient(ctx context.Context, s *sitting, server *authority) error {
	s.section("the public client, whose data is added to the rest")
	if _, err := os.Stat(filepath.Join(publicClient, "main.go")); err != nil {
		s.say("  skipped: %v", err)
		return nil
	}
	dir, err := os.MkdirTemp("", "tidemark-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "load")
	build := exec.CommandContext(ctx, "go", "build", "-C", publicClient, "-o", path, ".")
	if out, err := build.CombinedOutput(); err != nil {
		s.say("  skipped: it cannot be built: %v\n%s", err, out)
		return nil
	}
	scale, each := "1", min(s.duration, 3*time.Second)
	if s.short {
		scale, each = "0.1", 500*time.Millisecond
	}
	run := func(workload, level string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, path, "--addr", server.addr, "--token", key, "--scale", scale, "--workload", workload,
			"--consistency", level, "--reps", "1", "--warmup", "500ms", "--duration", each.String(), "--pid", itoa(server.pid))
		cmd.Stderr = new(output)
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w\n%s", workload, level, err, cmd.Stderr)
		}
		return out, nil
	}
	if _, err := run("load", "min"); err != nil {
		return err
	}
	var wrong, errors int64
	for _, m := range publicModes {
		out, err := run(m.workload, m.level)
		if err != nil {
			return err
		}
		var r publicResult
		if err := json.Unmarshal(out, &r); err != nil {
			return fmt.Errorf("%s %s: %w in %q", m.workload, m.level, err, out)
		}
		s.say("  %-16s %-5s  %8.0f /s  %8.0f µs of tidemark's CPU  wrong %d  errors %d  %s",
			m.workload, m.level, r.OpsPerSec, r.CPU, r.Wrong, r.Errors, r.FirstError)
		wrong, errors = wrong+r.Wrong, errors+r.Errors
		if r.Ops == 0 {
			errors++
		}
	}
	s.verdict("wrong answers", float64(wrong), 0, false, "")
	s.verdict("errors", float64(errors), 0, false, "")
	if wrong+errors > 0 {
		return fmt.Errorf("the public client saw %d wrong answers and %d errors", wrong, errors)
	}
	return nil
}
