package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

func frame(kind byte, body []byte) []byte {
	b := append([]byte{kind}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[1:], uint32(4+len(body)))
	return append(b, body...)
}

func data(payload []byte) []byte {
	b := append([]byte{'w'}, make([]byte, 24)...)
	binary.BigEndian.PutUint64(b[1:], 10)
	binary.BigEndian.PutUint64(b[9:], 20)
	return frame('d', append(b, payload...))
}

func keepalive(end uint64, reply byte) []byte {
	b := append([]byte{'k'}, make([]byte, 17)...)
	binary.BigEndian.PutUint64(b[1:], end)
	b[17] = reply
	return frame('d', b)
}

var done = frame('c', nil)

// pieces is a reader that returns what it holds in pieces of random size.
type pieces struct {
	rest []byte
	rnd  *rand.Rand
	most int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+p.rnd.IntN(p.most))], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func newInput(r io.Reader) *input {
	in := new(input)
	in.init(r)
	return in
}

// Messages of all sizes come out as they went in, however they arrive, and
// although buffers are used again.
func TestInput(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var want [][]byte
	for i := range 2000 {
		size := rnd.IntN(300)
		switch rnd.IntN(100) {
		case 0:
			size = rnd.IntN(2 * bufferSize)
		case 1:
			size = bufferSize - 30 - rnd.IntN(3) // around the size of a buffer
		}
		payload := bytes.Repeat([]byte{byte(i)}, size)
		stream = append(stream, data(payload)...)
		want = append(want, payload)
		if rnd.IntN(10) == 0 {
			stream = append(stream, frame('N', []byte("a notice"))...)
		}
	}
	stream = append(stream, done...)
	for _, most := range []int{7, 1000, 100_000, 1 << 30} {
		in := newInput(&pieces{rest: stream, rnd: rnd, most: most})
		var held []Batch
		i := 0
		drain := func() {
			for _, b := range held {
				for {
					m, ok, err := b.Next()
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					if !bytes.Equal(m.Data, want[i]) || m.Start != 10 || m.End != 20 {
						t.Fatalf("pieces of %d: message %d has %d bytes, want %d", most, i, len(m.Data), len(want[i]))
					}
					i++
				}
				b.Release()
			}
			held = held[:0]
		}
		for {
			b, err := in.batch()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := len(held); n == 0 || !held[n-1].Extend(b) {
				held = append(held, b)
			}
			if rnd.IntN(20) == 0 {
				drain()
			}
		}
		drain()
		if i != len(want) {
			t.Fatalf("pieces of %d: got %d messages of %d", most, i, len(want))
		}
	}
}

func TestInputEnds(t *testing.T) {
	failure := frame('E', append([]byte("SERROR\x00VERROR\x00C57P01\x00Mgoing down\x00"), 0))
	var pgErr *pgconn.PgError
	for _, c := range []struct {
		name  string
		tail  []byte
		check func(error) bool
	}{
		{"in good order", done, func(err error) bool { return errors.Is(err, io.EOF) }},
		{"with an error", failure, func(err error) bool { return errors.As(err, &pgErr) && pgErr.Code == "57P01" }},
		{"cut off", nil, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"cut off inside", []byte{'d', 0, 0, 0, 9, 'w'}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"with nonsense", frame('?', nil), func(err error) bool { return err != nil && !errors.Is(err, io.EOF) }},
		{"with a length too short", []byte{'d', 0, 0, 0, 3}, func(err error) bool { return err != nil && !errors.Is(err, io.ErrUnexpectedEOF) }},
		{"with a length too long", []byte{'d', 0xff, 0, 0, 3}, func(err error) bool { return err != nil && !errors.Is(err, io.ErrUnexpectedEOF) }},
	} {
		in := newInput(bytes.NewReader(append(keepalive(7, 1), c.tail...)))
		b, err := in.batch()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		m, ok, err := b.Next()
		if err != nil || !ok || !m.Keepalive || m.End != 7 || !m.ReplyRequested {
			t.Errorf("%s: %+v %v %v", c.name, m, ok, err)
		}
		if _, ok, _ := b.Next(); ok {
			t.Errorf("%s: two messages", c.name)
		}
		b.Release()
		for range 2 {
			if _, err := in.batch(); !c.check(err) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestParseMessage(t *testing.T) {
	log := data([]byte("x"))[frameHeader:]
	for _, bad := range [][]byte{
		nil, {'z'}, log[:24], keepalive(1, 0)[frameHeader : frameHeader+17], append(keepalive(1, 0)[frameHeader:], 0),
	} {
		if m, err := parseMessage(bad); err == nil {
			t.Errorf("%x parsed as %+v", bad, m)
		}
	}
	m, err := parseMessage(keepalive(9, 0)[frameHeader:])
	if err != nil || m.End != 9 || m.ReplyRequested || !m.Time.Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzInput(f *testing.F) {
	f.Add(append(keepalive(1, 1), data([]byte("abc"))...), uint8(3))
	f.Add(append(data(nil), done...), uint8(200))
	f.Fuzz(func(t *testing.T, stream []byte, most uint8) {
		if len(stream) >= 5 && stream[1] > 0 {
			t.Skip("a large announced length makes a large buffer")
		}
		in := newInput(&pieces{rest: stream, rnd: rand.New(rand.NewPCG(1, 2)), most: 1 + int(most)})
		for {
			b, err := in.batch()
			if err != nil {
				return
			}
			for {
				if _, ok, err := b.Next(); err != nil || !ok {
					break
				}
			}
			b.Release()
		}
	})
}

func TestCommands(t *testing.T) {
	o := StartOptions{Slot: "s_1", Publications: []string{`it's "one"`, "two"}, From: revision.LSN(0x1_0000_00ff), Protocol: 2, Streaming: true, Messages: true}
	got, err := o.command()
	if err != nil {
		t.Fatal(err)
	}
	want := `START_REPLICATION SLOT "s_1" LOGICAL 1/FF (proto_version '2', publication_names '"it''s ""one""","two"', streaming 'on', messages 'true')`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	o = StartOptions{Slot: "s", Publications: []string{"p"}, Protocol: 1}
	if got, _ := o.command(); got != `START_REPLICATION SLOT "s" LOGICAL 0/0 (proto_version '1', publication_names '"p"')` {
		t.Errorf("got %s", got)
	}
	for version, want := range map[int]string{
		140009: `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput NOEXPORT_SNAPSHOT`,
		150000: `CREATE_REPLICATION_SLOT "s" LOGICAL pgoutput (SNAPSHOT 'nothing')`,
	} {
		if got := createSlotCommand("s", version); got != want {
			t.Errorf("%d: got %s", version, got)
		}
	}
}

func TestNames(t *testing.T) {
	long := string(bytes.Repeat([]byte("a"), 64))
	for name, ok := range map[string]bool{"a_1": true, long[:63]: true, "": false, "A": false, "a-b": false, `a"`: false, "ä": false, long: false} {
		if err := CheckSlotName(name); (err == nil) != ok {
			t.Errorf("slot %q: %v", name, err)
		}
	}
	for name, ok := range map[string]bool{`My "Pub"`: true, "": false, "a\x00": false, long: false} {
		if err := CheckPublicationName(name); (err == nil) != ok {
			t.Errorf("publication %q: %v", name, err)
		}
	}
	for s, want := range map[string]string{"a": "'a'", "it's": "'it''s'", `a\b'`: ` E'a\\b'''`} {
		if got := QuoteLiteral(s); got != want {
			t.Errorf("%s: got %s", s, got)
		}
	}
}
