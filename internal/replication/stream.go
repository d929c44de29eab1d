package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// past is a deadline that fails whatever waits.
var past = time.Unix(1, 0)

// StartOptions says what to stream.
type StartOptions struct {
	Slot         string
	Publications []string
	From         revision.LSN // the server takes the slot's position if that is higher
	Protocol     int          // proto_version: 1, or 2 from server 14 on
	Streaming    bool         // send large transactions while they run; protocol 2
	Messages     bool         // send logical messages; from server 14 on
}

func (o StartOptions) command() (string, error) {
	if err := CheckSlotName(o.Slot); err != nil {
		return "", err
	}
	names := make([]string, len(o.Publications))
	for i, p := range o.Publications {
		if err := CheckPublicationName(p); err != nil {
			return "", err
		}
		names[i] = quoteIdent(p)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "START_REPLICATION SLOT %s LOGICAL %v (proto_version '%d', publication_names %s",
		quoteIdent(o.Slot), o.From, o.Protocol, quoteOption(strings.Join(names, ",")))
	if o.Streaming {
		b.WriteString(", streaming 'on'")
	}
	if o.Messages {
		b.WriteString(", messages 'true'")
	}
	b.WriteByte(')')
	return b.String(), nil
}

// Stream is a running START_REPLICATION. Receive belongs to one goroutine;
// SendStatus, Interrupt and Close may be called from others.
type Stream struct {
	conn net.Conn
	pid  uint32
	in   input

	out         sync.Mutex // guards writes and scratch
	scratch     []byte
	interrupted atomic.Bool
}

// Start begins to stream. It takes the connection over: c must not be used
// afterwards, whatever the outcome. A *pgconn.PgError says why the server
// refused.
func (c *Conn) Start(ctx context.Context, opts StartOptions) (*Stream, error) {
	s, err := c.start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("start replication from slot %q: %w", opts.Slot, err)
	}
	return s, nil
}

func (c *Conn) start(ctx context.Context, opts StartOptions) (*Stream, error) {
	command, err := opts.command()
	if err != nil {
		c.pg.Close(ctx)
		return nil, err
	}
	// The stream is read in large pieces and from another goroutine than it is
	// written, neither of which PgConn allows.
	if err := c.pg.SyncConn(ctx); err != nil {
		c.pg.Close(ctx)
		return nil, err
	}
	h, err := c.pg.Hijack()
	if err != nil {
		c.pg.Close(ctx)
		return nil, err
	}
	if n := h.Frontend.ReadBufferLen(); n != 0 {
		h.Conn.Close()
		return nil, fmt.Errorf("%d bytes came in before the command", n)
	}
	s := &Stream{conn: h.Conn, pid: h.PID}
	s.in.init(h.Conn)

	stop := s.interruptOn(ctx)
	err = s.open(command)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		h.Conn.Close()
		return nil, err
	}
	return s, nil
}

// interruptOn makes blocked reads and writes fail when ctx ends. The returned
// function ends that, and reports false if it has happened.
func (s *Stream) interruptOn(ctx context.Context) (stop func() bool) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		s.conn.SetDeadline(past)
	})
	return func() bool {
		if cancel() {
			return true
		}
		<-done
		return false
	}
}

func (s *Stream) open(command string) error {
	msg, err := (&pgproto3.Query{String: command}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := s.conn.Write(msg); err != nil {
		return err
	}
	for {
		kind, body, err := s.in.message()
		if err != nil {
			return err
		}
		switch kind {
		case 'W': // CopyBothResponse
			return nil
		case 'E':
			return serverError(body)
		case 'N', 'S', 'A':
		default:
			return fmt.Errorf("unexpected message %q", kind)
		}
	}
}

// PID returns the process id of the walsender.
func (s *Stream) PID() uint32 { return s.pid }

// Receive waits for log messages and returns all that have arrived, in order.
// The caller releases the batch. After an error, or io.EOF when the server
// ends the stream, it returns the same again.
func (s *Stream) Receive() (Batch, error) { return s.in.batch() }

// Status is a standby status update.
type Status struct {
	Written, Flushed, Applied revision.LSN
	Time                      time.Time
	ReplyRequested            bool
}

// SendStatus sends a status update, by the deadline.
func (s *Stream) SendStatus(st Status, deadline time.Time) error {
	s.out.Lock()
	defer s.out.Unlock()
	s.conn.SetWriteDeadline(deadline)
	if s.interrupted.Load() {
		// Interrupt may have come just before this deadline took the place of its own.
		s.conn.SetWriteDeadline(past)
	}
	_, err := s.conn.Write(s.encode(st))
	return err
}

func (s *Stream) encode(st Status) []byte {
	b := append(s.scratch[:0], 'd')
	b = binary.BigEndian.AppendUint32(b, 4+34)
	b = append(b, 'r')
	b = binary.BigEndian.AppendUint64(b, uint64(st.Written))
	b = binary.BigEndian.AppendUint64(b, uint64(st.Flushed))
	b = binary.BigEndian.AppendUint64(b, uint64(st.Applied))
	b = binary.BigEndian.AppendUint64(b, uint64(st.Time.UnixMicro()-postgresEpoch))
	reply := byte(0)
	if st.ReplyRequested {
		reply = 1
	}
	s.scratch = append(b, reply)
	return s.scratch
}

// Interrupt makes a waiting Receive and SendStatus fail, and every later one.
// Only Finish and Close do anything after it.
func (s *Stream) Interrupt() {
	s.interrupted.Store(true)
	s.conn.SetDeadline(past)
}

// Finish ends the stream in good order: it sends a last status update, tells
// the server that this is the end, and reads on until the server has agreed,
// which means that it has taken in the update and let go of the slot. It gives
// up at the deadline, as a server in the middle of a large transaction does
// not listen. Either way the connection is closed. No Receive may be running.
func (s *Stream) Finish(last Status, deadline time.Time) error {
	defer s.conn.Close()
	s.out.Lock()
	s.conn.SetDeadline(deadline)
	_, err := s.conn.Write(append(s.encode(last), 'c', 0, 0, 0, 4))
	s.out.Unlock()
	if err != nil {
		return err
	}
	for {
		b, err := s.in.batch()
		b.Release()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	s.conn.Write([]byte{'X', 0, 0, 0, 4})
	// The slot is free once the server process has gone, which closes the
	// connection.
	_, err = io.Copy(io.Discard, s.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// Close cuts the connection. A waiting Receive returns an error.
func (s *Stream) Close() error { return s.conn.Close() }

// serverError decodes an ErrorResponse.
func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("unreadable error from the server: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&m)
}
