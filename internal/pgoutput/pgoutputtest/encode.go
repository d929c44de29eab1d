// Package pgoutputtest writes messages of Postgres's pgoutput plugin, for
// tests of what reads them. It shares no code with the decoder. An xid of 0
// writes a message as it is sent outside of a stream block.
package pgoutputtest

import (
	"encoding/binary"
	"time"
)

// Column describes a column of Relation.
type Column struct {
	Name string
	Type uint32
	Key  bool
}

// Value is a column of a tuple.
type Value struct {
	Kind byte // 'n', 'u', 't', 'b'
	Text string
}

// T returns a text value.
func T(s string) Value { return Value{'t', s} }

// Null and Unchanged are values without text.
var (
	Null      = Value{Kind: 'n'}
	Unchanged = Value{Kind: 'u'}
)

type w []byte

func start(kind byte, xid uint32) w {
	m := w{kind}
	if xid != 0 {
		m = m.u32(xid)
	}
	return m
}

func (m w) u8(v byte) w    { return append(m, v) }
func (m w) u16(v int) w    { return binary.BigEndian.AppendUint16(m, uint16(v)) }
func (m w) u32(v uint32) w { return binary.BigEndian.AppendUint32(m, v) }
func (m w) u64(v uint64) w { return binary.BigEndian.AppendUint64(m, v) }
func (m w) str(s string) w { return append(append(m, s...), 0) }
func (m w) at(t time.Time) w {
	return m.u64(uint64(t.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()))
}

func (m w) flag(set bool) w {
	if set {
		return m.u8(1)
	}
	return m.u8(0)
}

func (m w) tuple(kind byte, vs []Value) w {
	m = m.u8(kind).u16(len(vs))
	for _, v := range vs {
		m = m.u8(v.Kind)
		if v.Kind == 't' || v.Kind == 'b' {
			m = append(m.u32(uint32(len(v.Text))), v.Text...)
		}
	}
	return m
}

// Begin writes a Begin message.
func Begin(lsn uint64, at time.Time, xid uint32) []byte {
	return start('B', 0).u64(lsn).at(at).u32(xid)
}

// Commit writes a Commit message.
func Commit(lsn, end uint64, at time.Time) []byte {
	return start('C', 0).u8(0).u64(lsn).u64(end).at(at)
}

// Origin writes an Origin message.
func Origin(lsn uint64, name string) []byte { return start('O', 0).u64(lsn).str(name) }

// Relation writes a Relation message.
func Relation(xid, oid uint32, schema, name string, identity byte, columns ...Column) []byte {
	m := start('R', xid).u32(oid).str(schema).str(name).u8(identity).u16(len(columns))
	for _, c := range columns {
		m = m.flag(c.Key).str(c.Name).u32(c.Type).u32(0xffffffff)
	}
	return m
}

// DataType writes a Type message.
func DataType(xid, oid uint32, schema, name string) []byte {
	return start('Y', xid).u32(oid).str(schema).str(name)
}

// Insert writes an Insert message.
func Insert(xid, relation uint32, row ...Value) []byte {
	return start('I', xid).u32(relation).tuple('N', row)
}

// Update writes an Update message. Kind is 'K', 'O', or 0 for no old tuple.
func Update(xid, relation uint32, kind byte, old, row []Value) []byte {
	m := start('U', xid).u32(relation)
	if kind != 0 {
		m = m.tuple(kind, old)
	}
	return m.tuple('N', row)
}

// Delete writes a Delete message. Kind is 'K' or 'O'.
func Delete(xid, relation uint32, kind byte, old ...Value) []byte {
	return start('D', xid).u32(relation).tuple(kind, old)
}

// Truncate writes a Truncate message.
func Truncate(xid uint32, options byte, relations ...uint32) []byte {
	m := start('T', xid).u32(uint32(len(relations))).u8(options)
	for _, r := range relations {
		m = m.u32(r)
	}
	return m
}

// LogicalMessage writes a Message message.
func LogicalMessage(xid uint32, transactional bool, lsn uint64, prefix, content string) []byte {
	m := start('M', xid).flag(transactional).u64(lsn).str(prefix).u32(uint32(len(content)))
	return append(m, content...)
}

// StreamStart writes a Stream Start message.
func StreamStart(xid uint32, first bool) []byte { return start('S', 0).u32(xid).flag(first) }

// StreamStop writes a Stream Stop message.
func StreamStop() []byte { return start('E', 0) }

// StreamCommit writes a Stream Commit message.
func StreamCommit(xid uint32, lsn, end uint64, at time.Time) []byte {
	return start('c', 0).u32(xid).u8(0).u64(lsn).u64(end).at(at)
}

// StreamAbort writes a Stream Abort message.
func StreamAbort(xid, subxid uint32) []byte { return start('A', 0).u32(xid).u32(subxid) }
