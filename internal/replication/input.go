package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// bufferSize is how much one read may bring. A buffer is shared by all the
	// batches that were read into it.
	bufferSize = 256 << 10
	// minRoom is the free space below which reading goes on in a fresh buffer.
	minRoom = 16 << 10
	// maxMessage is above what Postgres can send: 1 GB and a header.
	maxMessage = 1<<30 + 1<<20
	// spares is how many idle buffers are kept.
	spares = 8

	frameHeader = 5
)

// buffer is what the stream is read into. It goes back to the pool when the
// input and every batch that points into it have let go.
type buffer struct {
	b    []byte
	refs atomic.Int32
	pool chan *buffer
}

func (b *buffer) release() {
	if b.refs.Add(-1) > 0 || len(b.b) != bufferSize {
		return
	}
	select {
	case b.pool <- b:
	default:
	}
}

// Batch is a run of whole messages, still in wire form.
type Batch struct {
	buf  *buffer
	data []byte
	from int // offset of data in buf.b
}

// Len returns the bytes that the batch holds.
func (b *Batch) Len() int { return len(b.data) }

// Next returns the next message, and false at the end. The message holds
// until the batch is released.
func (b *Batch) Next() (Message, bool, error) {
	for len(b.data) >= frameHeader {
		kind := b.data[0]
		n := 1 + int(binary.BigEndian.Uint32(b.data[1:]))
		body := b.data[frameHeader:n:n]
		b.data = b.data[n:]
		b.from += n
		if kind != 'd' {
			continue // a notice or a changed setting
		}
		m, err := parseMessage(body)
		return m, err == nil, err
	}
	return Message{}, false, nil
}

// Extend appends next to b without copying, if it follows b in memory, and
// then takes over next's release.
func (b *Batch) Extend(next Batch) bool {
	if b.buf == nil || b.buf != next.buf || b.from+len(b.data) != next.from {
		return false
	}
	b.data = b.buf.b[b.from : next.from+len(next.data)]
	next.Release()
	return true
}

// Release says that the messages of the batch are no longer needed.
func (b *Batch) Release() {
	if b.buf != nil {
		b.buf.release()
		b.buf, b.data = nil, nil
	}
}

// input cuts the incoming bytes into messages.
type input struct {
	r    io.Reader
	pool chan *buffer
	buf  *buffer
	// b[read:written] has been read from the connection and not handed out;
	// b[read:whole] is known to be whole messages.
	read, whole, written int
	err                  error
}

func (in *input) init(r io.Reader) {
	in.r = r
	in.pool = make(chan *buffer, spares)
	in.buf = in.fresh(bufferSize)
}

func (in *input) fresh(size int) *buffer {
	var b *buffer
	if size <= bufferSize {
		select {
		case b = <-in.pool:
		default:
		}
		size = bufferSize
	}
	if b == nil {
		b = &buffer{b: make([]byte, size), pool: in.pool}
	}
	b.refs.Store(1)
	return b
}

// batch waits for at least one whole message of the log and returns all there
// are.
func (in *input) batch() (Batch, error) {
	for {
		err := in.scan()
		if in.whole > in.read {
			in.buf.refs.Add(1)
			b := Batch{buf: in.buf, data: in.buf.b[in.read:in.whole:in.whole], from: in.read}
			in.read = in.whole
			return b, nil
		}
		if err != nil {
			return Batch{}, err
		}
		if err := in.fill(); err != nil {
			return Batch{}, err
		}
	}
}

// scan moves whole forward over messages that may be handed out. It stops
// before one that ends the stream and returns what that says.
func (in *input) scan() error {
	if in.err != nil {
		return in.err
	}
	b := in.buf.b
	for in.written-in.whole >= frameHeader {
		n, err := frameLength(b[in.whole:])
		if err != nil {
			in.err = err
			return err
		}
		switch kind := b[in.whole]; kind {
		case 'd', 'N', 'S', 'A':
		case 'E':
			if in.written-in.whole < n {
				return nil
			}
			in.err = serverError(b[in.whole+frameHeader : in.whole+n])
			return in.err
		case 'c', 'C', 'Z': // the server has finished
			in.err = io.EOF
			return in.err
		default:
			in.err = fmt.Errorf("replication: unexpected message %q", kind)
			return in.err
		}
		if in.written-in.whole < n {
			return nil
		}
		in.whole += n
	}
	return nil
}

// frameLength returns the length of the message at b, its header included.
func frameLength(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b[1:])
	if n < 4 || n > maxMessage {
		return 0, fmt.Errorf("replication: message %q claims a length of %d bytes", b[0], n)
	}
	return 1 + int(n), nil
}

// fill reads more, after making room for what is known to come.
func (in *input) fill() error {
	need := minRoom
	if in.written-in.whole >= frameHeader {
		n, err := frameLength(in.buf.b[in.whole:])
		if err != nil {
			in.err = err
			return err
		}
		// The rest of the message, and no more: asking for more than was made
		// room for would move a large message again and again.
		need = n - (in.written - in.whole)
	}
	if len(in.buf.b)-in.written < need {
		rest := in.buf.b[in.read:in.written]
		next := in.fresh(len(rest) + need)
		copy(next.b, rest)
		in.buf.release()
		in.buf = next
		in.whole -= in.read
		in.read, in.written = 0, len(rest)
	}
	n, err := in.r.Read(in.buf.b[in.written:])
	in.written += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) {
		// Postgres ends a stream with a message; silence is a lost connection.
		err = io.ErrUnexpectedEOF
	}
	return err
}

// message returns the next message of any kind. It serves the hand-shake; its
// result holds until the next call.
func (in *input) message() (kind byte, body []byte, err error) {
	for {
		if in.written-in.read >= frameHeader {
			n, err := frameLength(in.buf.b[in.read:])
			if err != nil {
				return 0, nil, err
			}
			if in.written-in.read >= n {
				b := in.buf.b[in.read : in.read+n]
				in.read += n
				in.whole = in.read
				return b[0], b[frameHeader:], nil
			}
		}
		if err := in.fill(); err != nil {
			return 0, nil, err
		}
	}
}
