package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// childPrefix begins the hidden commands by which this program runs itself.
const childPrefix = "child-"

// served answers the lines that a child is sent. The reply is written as JSON.
type served func(ctx context.Context, command string, args []string) (any, error)

// runChild runs one of the hidden commands: it says that it is ready, then
// answers one line at a time until its input ends.
func runChild(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) error {
	open, ok := map[string]func(context.Context, []string, *slog.Logger) (any, served, func(), error){
		childPrefix + "serve":    openServe,
		childPrefix + "decode":   openDecode,
		childPrefix + "answers":  openAnswers,
		childPrefix + "tidemark": openCommand,
		childPrefix + "live":     openLive,
		childPrefix + "fan":      openFan,
	}[args[0]]
	if !ok {
		return fmt.Errorf("unknown command %q", args[0])
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ready, serve, stop, err := open(ctx, args[1:], log)
	if err != nil {
		return err
	}
	defer stop()
	reply := json.NewEncoder(out)
	if err := reply.Encode(envelope{Value: ready}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		value, err := profiled(ctx, serve, words[0], words[1:])
		e := envelope{Value: value}
		if err != nil {
			e.Error = err.Error()
		}
		if err := reply.Encode(e); err != nil {
			return err
		}
	}
	return lines.Err()
}

type envelope struct {
	Value any    `json:",omitempty"`
	Error string `json:",omitempty"`
}

// profiled answers the commands that every child knows, and leaves the others to
// serve.
func profiled(ctx context.Context, serve served, command string, args []string) (any, error) {
	switch command {
	case "profile":
		f, err := os.Create(args[0])
		if err != nil {
			return nil, err
		}
		return nil, pprof.StartCPUProfile(f) // the file is closed with the process
	case "profiled":
		pprof.StopCPUProfile()
		return nil, nil
	}
	return serve(ctx, command, args)
}

// child is a process of this program, seen from the one that started it.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	pid int
}

// startChild starts one on some CPUs and waits until it is ready.
func startChild(cpus []int, ready any, name string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, append([]string{childPrefix + name}, args...)...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := startOn(c.cmd, cpus); err != nil {
		return nil, err
	}
	c.pid = c.cmd.Process.Pid
	if err := c.read(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), c.close())
	}
	return c, nil
}

// ask sends a command and reads the reply into a value, which may be nil. One at
// a time.
func (c *child) ask(value any, command string, args ...string) error {
	if _, err := fmt.Fprintln(c.in, strings.Join(append([]string{command}, args...), " ")); err != nil {
		return fmt.Errorf("ask a child: %w", err)
	}
	if err := c.read(value); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (c *child) read(value any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	var e struct {
		Value json.RawMessage
		Error string
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("%w in %q", err, line)
	}
	if e.Error != "" {
		return errors.New(e.Error)
	}
	if value == nil || e.Value == nil {
		return nil
	}
	return json.Unmarshal(e.Value, value)
}

// profile runs f while the child writes a CPU profile.
func (c *child) profile(path string, f func() error) error {
	if err := c.ask(nil, "profile", path); err != nil {
		return err
	}
	err := f()
	return errors.Join(err, c.ask(nil, "profiled"))
}

// close ends the child in good order.
func (c *child) close() error {
	_ = c.in.Close()
	kill := time.AfterFunc(30*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	return c.cmd.Wait()
}

// childFlags parses a hidden command's flags.
func childFlags(args []string, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	define(flags)
	return flags.Parse(args)
}

func itoa(n int) string { return strconv.Itoa(n) }
