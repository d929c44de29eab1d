package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sitting is one run of one scenario: what is compared is compared within it.
type sitting struct {
	scenario
	options
	out io.Writer
}

// sit runs a scenario and keeps a copy of what it prints.
func sit(ctx context.Context, sc scenario, o options, args []string, stdout io.Writer) (err error) {
	s := &sitting{scenario: sc, options: o, out: stdout}
	if o.results != "" {
		if err := os.MkdirAll(o.results, 0o755); err != nil {
			return err
		}
		name := sc.name
		if o.large {
			name += "-large"
		}
		f, err := os.Create(filepath.Join(o.results, name+".txt"))
		if err != nil {
			return err
		}
		defer func() {
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}()
		s.out = io.MultiWriter(stdout, f)
	}
	s.say("%s: %s", sc.name, sc.about)
	s.say("date      %s", time.Now().UTC().Format(time.RFC3339))
	s.say("command   go run ./bench %s", command(args, sc.name))
	s.say("machine   %s, %d CPUs, %s/%s, load %s", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, loadAverage())
	s.say("go        %s", runtime.Version())
	err = sc.run(ctx, s)
	s.say("")
	return err
}

// command repeats this sitting alone: the flags as given, and its own scenario.
func command(args []string, name string) string {
	flags := slices.DeleteFunc(slices.Clone(args), func(a string) bool {
		return a == "all" || slices.ContainsFunc(scenarios, func(s scenario) bool { return s.name == a })
	})
	return strings.Join(append(flags, name), " ")
}

func (s *sitting) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *sitting) section(title string) { s.say("\n%s", title) }

// verdict holds a ratio to its goal. atLeast says on which side of the goal it
// should be.
func (s *sitting) verdict(what string, got, goal float64, atLeast bool, unit string) {
	sign, ok := "≥", got >= goal
	if !atLeast {
		sign, ok = "≤", got <= goal
	}
	outcome := "reached"
	switch {
	case ok:
	case goal == 0:
		outcome = "missed"
	default:
		outcome = fmt.Sprintf("missed by %.0f %%", 100*abs(got/goal-1))
	}
	s.say("  %-58s %7.2f %s   goal %s %.2f %s: %s", what, got, unit, sign, goal, unit, outcome)
}

// fact prints a figure that has no goal.
func (s *sitting) fact(what string, got float64, unit string) {
	s.say("  %-58s %7.2f %s", what, got, unit)
}

func abs(f float64) float64 { return max(f, -f) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// ratios divides turn by turn: neighbours in time share what disturbs them.
func ratios(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] / b[i]
	}
	return out
}

// quantile returns the value below which a share q of sorted values lies.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "CPU of unknown model"
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
