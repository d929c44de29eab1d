package pgoutput_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidemarkdb/tidemark/internal/pgoutput"
	enc "github.com/tidemarkdb/tidemark/internal/pgoutput/pgoutputtest"
)

var at = time.Date(2024, 5, 6, 7, 8, 9, 123456000, time.UTC)

type sample struct {
	name     string
	src      []byte
	streamed bool
	want     pgoutput.Message
}

func text(s string) pgoutput.Column { return pgoutput.Column{Kind: 't', Text: []byte(s)} }

func samples() []sample {
	null, unchanged := pgoutput.Column{Kind: 'n'}, pgoutput.Column{Kind: 'u'}
	long := strings.Repeat("x", 70_000)
	return []sample{
		{"begin", enc.Begin(0x1_0000_0002, at, 7), false, &pgoutput.Begin{FinalLSN: 0x1_0000_0002, Time: at, XID: 7}},
		{"commit", enc.Commit(1, 2, at), false, &pgoutput.Commit{CommitLSN: 1, EndLSN: 2, Time: at}},
		{"origin", enc.Origin(9, "there"), false, &pgoutput.Origin{CommitLSN: 9, Name: "there"}},
		{
			"relation", enc.Relation(0, 5, "public", "t", 'd', enc.Column{Name: "id", Type: 23, Key: true}, enc.Column{Name: "v", Type: 25}), false,
			&pgoutput.Relation{OID: 5, Namespace: "public", Name: "t", Identity: 'd', Columns: []pgoutput.RelationColumn{
				{Key: true, Name: "id", Type: 23, Mod: -1}, {Name: "v", Type: 25, Mod: -1},
			}},
		},
		{"relation in a stream", enc.Relation(8, 5, "", "t", 'f'), true, &pgoutput.Relation{XID: 8, OID: 5, Name: "t", Identity: 'f'}},
		{"type", enc.DataType(0, 600, "s", "mood"), false, &pgoutput.DataType{OID: 600, Namespace: "s", Name: "mood"}},
		{"type in a stream", enc.DataType(3, 600, "", "mood"), true, &pgoutput.DataType{XID: 3, OID: 600, Name: "mood"}},
		{
			"insert", enc.Insert(0, 5, enc.T("1"), enc.Null, enc.T(""), enc.T(long)), false,
			&pgoutput.Insert{Relation: 5, New: []pgoutput.Column{text("1"), null, text(""), text(long)}},
		},
		{"insert of nothing", enc.Insert(0, 5), false, &pgoutput.Insert{Relation: 5}},
		{"insert in a stream", enc.Insert(12, 5, enc.T("1")), true, &pgoutput.Insert{XID: 12, Relation: 5, New: []pgoutput.Column{text("1")}}},
		{
			"update", enc.Update(0, 5, 0, nil, []enc.Value{enc.T("1"), enc.Unchanged}), false,
			&pgoutput.Update{Relation: 5, New: []pgoutput.Column{text("1"), unchanged}},
		},
		{
			"update with key", enc.Update(0, 5, 'K', []enc.Value{enc.T("0"), enc.Null}, []enc.Value{enc.T("1"), enc.Unchanged}), false,
			&pgoutput.Update{Relation: 5, OldKind: 'K', Old: []pgoutput.Column{text("0"), null}, New: []pgoutput.Column{text("1"), unchanged}},
		},
		{
			"update with row in a stream", enc.Update(4, 5, 'O', []enc.Value{enc.T("0")}, []enc.Value{enc.T("1")}), true,
			&pgoutput.Update{XID: 4, Relation: 5, OldKind: 'O', Old: []pgoutput.Column{text("0")}, New: []pgoutput.Column{text("1")}},
		},
		{
			"delete by key", enc.Delete(0, 5, 'K', enc.T("1"), enc.Null), false,
			&pgoutput.Delete{Relation: 5, OldKind: 'K', Old: []pgoutput.Column{text("1"), null}},
		},
		{"delete in a stream", enc.Delete(6, 5, 'O', enc.T("1")), true, &pgoutput.Delete{XID: 6, Relation: 5, OldKind: 'O', Old: []pgoutput.Column{text("1")}}},
		{"truncate", enc.Truncate(0, 0, 5), false, &pgoutput.Truncate{Relations: []uint32{5}}},
		{"truncate in a stream", enc.Truncate(2, 3, 5, 6), true, &pgoutput.Truncate{XID: 2, Cascade: true, RestartIdentity: true, Relations: []uint32{5, 6}}},
		{
			"message", enc.LogicalMessage(0, true, 77, "p", "content"), false,
			&pgoutput.LogicalMessage{Transactional: true, LSN: 77, Prefix: "p", Content: []byte("content")},
		},
		{"message in a stream", enc.LogicalMessage(9, false, 77, "", ""), true, &pgoutput.LogicalMessage{XID: 9, LSN: 77}},
		{"stream start", enc.StreamStart(9, true), false, &pgoutput.StreamStart{XID: 9, First: true}},
		{"stream stop", enc.StreamStop(), true, &pgoutput.StreamStop{}},
		{"stream commit", enc.StreamCommit(9, 1, 2, at), false, &pgoutput.StreamCommit{XID: 9, CommitLSN: 1, EndLSN: 2, Time: at}},
		{"stream abort", enc.StreamAbort(9, 10), false, &pgoutput.StreamAbort{XID: 9, SubXID: 10}},
	}
}

func TestDecode(t *testing.T) {
	var d pgoutput.Decoder
	for range 2 { // the second time in used scratch space
		for _, s := range samples() {
			got, err := d.Decode(s.src, s.streamed)
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
			} else if diff := cmp.Diff(s.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", s.name, diff)
			}
			typ, xid, err := pgoutput.Peek(s.src, s.streamed)
			if err != nil || typ != s.want.Type() {
				t.Errorf("%s: peeked %v, %v", s.name, typ, err)
			}
			if m, ok := got.(*pgoutput.Insert); ok && xid != m.XID {
				t.Errorf("%s: peeked xid %d", s.name, xid)
			}
		}
	}
}

// Bytes that Postgres 15 sent, so that the encoder and the decoder cannot
// agree on an error.
func TestDecodeCaptured(t *testing.T) {
	var d pgoutput.Decoder
	for _, c := range []struct{ hex, want string }{
		{
			"420000000001504378000303d48cdb96fc000002d9",
			"Begin &{FinalLSN:22037368 Time:2026-11-22 04:19:21.283324 +0000 UTC XID:729}",
		},
		{"59000040027075626c6963006d6f6f6400", "Type &{XID:0 OID:16386 Namespace:public Name:mood}"},
		{
			"52000040057075626c69630074006400030169640000000017ffffffff007600000004130000000d006d0000004002ffffffff",
			"Relation &{XID:0 OID:16389 Namespace:public Name:t Identity:100 Columns:[{Key:true Name:id Type:23 Mod:-1}" +
				" {Key:false Name:v Type:1043 Mod:13} {Key:false Name:m Type:16386 Mod:-1}]}",
		},
		{
			"49000040054e00037400000001317400000002c3a96e",
			"Insert &{XID:0 Relation:16389 New:[{Kind:116 Text:[49]} {Kind:116 Text:[195 169]} {Kind:110 Text:[]}]}",
		},
		{
			"55000040054b00037400000001316e6e4e00037400000001327400000002c3a974000000026f6b",
			"Update &{XID:0 Relation:16389 OldKind:75 Old:[{Kind:116 Text:[49]} {Kind:110 Text:[]} {Kind:110 Text:[]}]" +
				" New:[{Kind:116 Text:[50]} {Kind:116 Text:[195 169]} {Kind:116 Text:[111 107]}]}",
		},
		{
			"44000040054f00037400000001327400000002c3a974000000026f6b",
			"Delete &{XID:0 Relation:16389 OldKind:79 Old:[{Kind:116 Text:[50]} {Kind:116 Text:[195 169]} {Kind:116 Text:[111 107]}]}",
		},
		{"54000000010300004005", "Truncate &{XID:0 Cascade:true RestartIdentity:true Relations:[16389]}"},
		{
			"4d010000000001504cb861207072656669780000000007636f6e74656e74",
			"Message &{XID:0 Transactional:true LSN:22039736 Prefix:a prefix Content:[99 111 110 116 101 110 116]}",
		},
		{
			"43000000000001504cb80000000001504ce8000303d48cdb9c77",
			"Commit &{Flags:0 CommitLSN:22039736 EndLSN:22039784 Time:2026-11-22 04:19:21.284727 +0000 UTC}",
		},
	} {
		src, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.Decode(src, false)
		if err != nil {
			t.Fatalf("%s: %v", c.hex, err)
		}
		if got := fmt.Sprintf("%v %+v", m.Type(), m); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	var d pgoutput.Decoder
	for _, s := range samples() {
		for n := range len(s.src) {
			if n > 200 && n < len(s.src)-200 {
				continue
			}
			m, err := d.Decode(s.src[:n:n], s.streamed)
			var e *pgoutput.Error
			if !errors.As(err, &e) || m != nil {
				t.Fatalf("%s cut at %d: %v, %v", s.name, n, m, err)
			}
			if !errors.Is(err, pgoutput.ErrShort) && n > 0 || e.Offset > n {
				t.Errorf("%s cut at %d: %v", s.name, n, err)
			}
			if n > 0 && !strings.Contains(err.Error(), e.Type.String()) {
				t.Errorf("%s cut at %d: %v does not name the message", s.name, n, err)
			}
		}
		if _, err := d.Decode(append(s.src[:len(s.src):len(s.src)], 0), s.streamed); !errors.Is(err, pgoutput.ErrTrailing) {
			t.Errorf("%s with a byte after it: %v", s.name, err)
		}
	}
	for _, c := range []struct {
		name   string
		src    []byte
		want   error
		offset int
	}{
		{"binary", enc.Insert(0, 5, enc.Value{Kind: 'b', Text: "x"}), pgoutput.ErrBinary, 8},
		{"column kind", enc.Insert(0, 5, enc.T(""), enc.Value{Kind: 'x'}), pgoutput.ErrMalformed, 13},
		{"unknown", []byte("Z"), pgoutput.ErrUnknownType, 0},
		{"insert with old", enc.Delete(0, 5, 'K')[:0], pgoutput.ErrShort, 0},
		{"delete with new", enc.Delete(0, 5, 'N'), pgoutput.ErrMalformed, 5},
		{"update with twice old", enc.Update(0, 5, 'X', nil, nil), pgoutput.ErrMalformed, 5},
		{"identity", enc.Relation(0, 5, "", "", 'x'), pgoutput.ErrMalformed, 7},
		{"truncate options", enc.Truncate(0, 4), pgoutput.ErrMalformed, 5},
		{"many relations", []byte{'T', 0xff, 0xff, 0xff, 0xff, 0}, pgoutput.ErrShort, 6},
		{"many columns", append(enc.Relation(0, 5, "", "", 'd')[:8], 0xff, 0xff), pgoutput.ErrShort, 10},
		{"long value", []byte{'I', 0, 0, 0, 5, 'N', 0, 1, 't', 0xff, 0xff, 0xff, 0xff, 1}, pgoutput.ErrShort, 13},
	} {
		_, err := d.Decode(c.src, false)
		var e *pgoutput.Error
		if !errors.As(err, &e) || !errors.Is(err, c.want) || e.Offset != c.offset {
			t.Errorf("%s: %v, want %v at %d", c.name, err, c.want, c.offset)
		}
	}
	if _, _, err := pgoutput.Peek(nil, false); !errors.Is(err, pgoutput.ErrShort) {
		t.Error(err)
	}
	if _, _, err := pgoutput.Peek([]byte("I123"), true); !errors.Is(err, pgoutput.ErrShort) {
		t.Error(err)
	}
}

// Values share memory with the message and cannot grow into what follows.
func TestValuesPointIntoMessage(t *testing.T) {
	src := enc.Insert(0, 5, enc.T("ab"), enc.T("cd"))
	var d pgoutput.Decoder
	m, err := d.Decode(src, false)
	if err != nil {
		t.Fatal(err)
	}
	row := m.(*pgoutput.Insert).New
	src[len(src)-1] = 'X'
	if got := string(row[1].Text); got != "cX" {
		t.Errorf("got %q", got)
	}
	if _ = append(row[0].Text, "ZZZZZZ"...); src[15] == 'Z' {
		t.Error("an append to a value overwrote the message")
	}
}

func TestRowsDoNotAllocate(t *testing.T) {
	var d pgoutput.Decoder
	row := []enc.Value{enc.T("12345"), enc.T("some name"), enc.Null}
	for _, src := range [][]byte{
		enc.Insert(0, 5, row...), enc.Update(0, 5, 'O', row, row), enc.Delete(0, 5, 'K', row...),
		enc.Begin(1, at, 1), enc.Commit(1, 2, at), enc.Truncate(0, 0, 1, 2),
	} {
		d.Decode(src, false)
		if n := testing.AllocsPerRun(100, func() { d.Decode(src, false) }); n != 0 {
			t.Errorf("%v: %v allocations", pgoutput.Type(src[0]), n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		if len(s.src) < 1000 {
			f.Add(s.src, s.streamed)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, streamed bool) {
		var d pgoutput.Decoder
		m, err := d.Decode(src, streamed)
		if err != nil {
			var e *pgoutput.Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(src) {
				t.Fatalf("%v", err)
			}
			return
		}
		again := encode(m, streamed)
		if string(again) != string(src) {
			// Times beyond the range of time.Time and options that are not kept
			// are the only loss.
			switch m.(type) {
			case *pgoutput.Begin, *pgoutput.Commit, *pgoutput.StreamCommit, *pgoutput.Relation:
			default:
				t.Fatalf("%v encodes as %x, was %x", m.Type(), again, src)
			}
		}
	})
}

// encode writes a decoded message again.
func encode(m pgoutput.Message, streamed bool) []byte {
	values := func(cs []pgoutput.Column) (vs []enc.Value) {
		for _, c := range cs {
			vs = append(vs, enc.Value{Kind: byte(c.Kind), Text: string(c.Text)})
		}
		return vs
	}
	var b []byte
	var xid uint32
	// The encoder takes a transaction id of 0 for none.
	const none = 0xfffffffe
	id := func(x uint32) uint32 {
		if xid = x; streamed && x == 0 {
			return none
		}
		return x
	}
	switch m := m.(type) {
	case *pgoutput.Begin:
		b = enc.Begin(m.FinalLSN, m.Time, m.XID)
	case *pgoutput.Commit:
		b = enc.Commit(m.CommitLSN, m.EndLSN, m.Time)
	case *pgoutput.Origin:
		b = enc.Origin(m.CommitLSN, m.Name)
	case *pgoutput.Relation:
		var cs []enc.Column
		for _, c := range m.Columns {
			cs = append(cs, enc.Column{Name: c.Name, Type: c.Type, Key: c.Key})
		}
		b = enc.Relation(id(m.XID), m.OID, m.Namespace, m.Name, m.Identity, cs...)
	case *pgoutput.DataType:
		b = enc.DataType(id(m.XID), m.OID, m.Namespace, m.Name)
	case *pgoutput.Insert:
		b = enc.Insert(id(m.XID), m.Relation, values(m.New)...)
	case *pgoutput.Update:
		b = enc.Update(id(m.XID), m.Relation, byte(m.OldKind), values(m.Old), values(m.New))
	case *pgoutput.Delete:
		b = enc.Delete(id(m.XID), m.Relation, byte(m.OldKind), values(m.Old)...)
	case *pgoutput.Truncate:
		var o byte
		if m.Cascade {
			o |= 1
		}
		if m.RestartIdentity {
			o |= 2
		}
		b = enc.Truncate(id(m.XID), o, m.Relations...)
	case *pgoutput.LogicalMessage:
		b = enc.LogicalMessage(id(m.XID), m.Transactional, m.LSN, m.Prefix, string(m.Content))
	case *pgoutput.StreamStart:
		b = enc.StreamStart(m.XID, m.First)
	case *pgoutput.StreamStop:
		b = enc.StreamStop()
	case *pgoutput.StreamCommit:
		b = enc.StreamCommit(m.XID, m.CommitLSN, m.EndLSN, m.Time)
	case *pgoutput.StreamAbort:
		b = enc.StreamAbort(m.XID, m.SubXID)
	}
	if streamed && m.Type().HasXID() && xid == 0 {
		copy(b[1:5], []byte{0, 0, 0, 0})
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	var d pgoutput.Decoder
	for _, s := range samples() {
		m, err := d.Decode(s.src, s.streamed)
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(m, s.streamed); string(got) != string(s.src) {
			t.Errorf("%s: %x, want %x", s.name, got, s.src)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	src := enc.Insert(0, 5, enc.T("12345"), enc.T("a name of some length"), enc.Null, enc.T("2024-05-06 07:08:09+00"), enc.T("t"))
	var d pgoutput.Decoder
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(src, false); err != nil {
			b.Fatal(err)
		}
	}
}
