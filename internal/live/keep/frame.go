package keep

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live/record"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// A segment is a header and frames. Numbers are little-endian, or varints as in
// encoding/binary.
//
//	frame    = length of the body, 4 bytes | CRC-32C, 4 bytes | kind, 1 byte | body
//	relation = id | oid | identity, 1 byte | schema | name | columns | each: name, type, key
//	piece    = index of the first change | changes
//	end      = xid | end, 8 bytes | end-commit | microseconds | first piece, as distance, or 0 |
//	           relations | each: id | index of the first change | changes
//	cover    = position, 8 bytes | durable position, 8 bytes
//	change   = length of the rest, 4 bytes | operation, 1 byte | changes skipped | relation id, or 0 | old | new
//	row      = 0 if there is none, or values+1 | values
//	value    = 0 absent | 1 null | 2 as in old | length+3, text
//
// A transaction is one end frame, after pieces if it is long and after the
// descriptions that the segment does not have yet. It is there once its end
// frame is. A cover says that everything up to its position is there.
//
// The CRC begins with a secret of the segment and the place of the frame, so that
// what stood there before, or inside of a value, is not taken for a frame.

const (
	version = 1
	magic   = "tidekeep"

	frameHead = 9
	// maxBody bounds what is believed of a length: a piece has at most one
	// change beyond pieceBytes, and a change is at most one message of Postgres.
	maxBody = 1<<31 - 1
	// maxSmall bounds the frames that are read whole when the log is opened.
	maxSmall = 16 << 20
	// pieceBytes is from how many bytes on a transaction is written in pieces.
	pieceBytes = 64 << 10
)

const (
	kindRelation byte = 'R'
	kindPiece    byte = 'P'
	kindEnd      byte = 'E'
	kindCover    byte = 'C'
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	order      = binary.LittleEndian
	errFrame   = errors.New("a frame is cut off or not what was written")
)

// seal computes the CRC of a frame that is complete but for it.
func seal(frame []byte, secret uint64, off int64) {
	order.PutUint32(frame, uint32(len(frame)-frameHead))
	order.PutUint32(frame[4:], checksum(frame, secret, off))
}

// checksum is that of a frame, or of the beginning of one.
func checksum(frame []byte, secret uint64, off int64) uint32 {
	var seed [20]byte
	order.PutUint64(seed[:], secret)
	order.PutUint64(seed[8:], uint64(off))
	copy(seed[16:], frame[:4])
	return crc32.Update(crc32.Checksum(seed[:], castagnoli), castagnoli, frame[8:])
}

// header is the first headerBytes of a segment.
type header struct {
	fresh  bool // the log began anew here
	number uint64
	secret uint64
	source revision.Source
	// begin is where the segment begins: it holds what ends after that. before
	// and beforeSecret are of the previous segment: where it ends by what is written
	// in it, and its secret.
	begin, before revision.LSN
	beforeSecret  uint64
	// floor is where the log began, synced how much of it was durable, when the
	// segment was made.
	floor, synced revision.LSN
}

const headerBytes = 96

func (h *header) encode() []byte {
	b := append(make([]byte, 0, headerBytes), magic...)
	b = order.AppendUint32(b, version)
	var fresh uint32
	if h.fresh {
		fresh = 1
	}
	b = order.AppendUint32(b, fresh)
	b = order.AppendUint32(b, h.source.Timeline)
	for _, n := range []uint64{
		h.number, h.secret, h.source.SystemID, uint64(h.begin), uint64(h.before), h.beforeSecret,
		uint64(h.floor), uint64(h.synced),
	} {
		b = order.AppendUint64(b, n)
	}
	b = append(b, make([]byte, headerBytes-4-len(b))...)
	return order.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte) (h header, ok bool) {
	if len(b) != headerBytes || string(b[:8]) != magic || order.Uint32(b[8:]) != version ||
		order.Uint32(b[headerBytes-4:]) != crc32.Checksum(b[:headerBytes-4], castagnoli) {
		return h, false
	}
	n := func(i int) uint64 { return order.Uint64(b[20+8*i:]) }
	return header{
		fresh: order.Uint32(b[12:]) == 1, number: n(0), secret: n(1),
		source: revision.Source{SystemID: n(2), Timeline: order.Uint32(b[16:])},
		begin:  revision.LSN(n(3)), before: revision.LSN(n(4)), beforeSecret: n(5),
		floor: revision.LSN(n(6)), synced: revision.LSN(n(7)),
	}, true
}

func appendRelation(b []byte, id uint64, r *catalog.Relation) []byte {
	b = binary.AppendUvarint(b, id)
	b = binary.AppendUvarint(b, uint64(r.OID))
	b = append(b, byte(r.Identity))
	b = record.AppendText(b, r.Schema)
	b = record.AppendText(b, r.Name)
	b = binary.AppendUvarint(b, uint64(len(r.Columns)))
	for _, c := range r.Columns {
		b = record.AppendText(b, c.Name)
		b = binary.AppendUvarint(b, uint64(c.Type))
		var key byte
		if c.Key {
			key = 1
		}
		b = append(b, key)
	}
	return b
}

func decodeRelation(body []byte) (id uint64, rel *catalog.Relation, ok bool) {
	r := record.Reader{Rest: body}
	id = r.Uvarint()
	rel = &catalog.Relation{
		OID: catalog.OID(r.Uvarint()), Identity: catalog.Identity(r.Byte()), Schema: string(r.Text()), Name: string(r.Text()),
	}
	rel.Columns = make([]catalog.Column, r.Count())
	for i := range rel.Columns {
		rel.Columns[i] = catalog.Column{Name: string(r.Text()), Type: catalog.OID(r.Uvarint()), Key: r.Byte() == 1}
	}
	return id, rel, !r.Bad && len(r.Rest) == 0
}

// ending is an end frame, less its changes.
type ending struct {
	xid         revision.XID
	end, commit revision.LSN
	micros      int64
	back        int64 // to the first piece, or 0
	relations   []uint64
}

func (e *ending) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(e.xid))
	b = order.AppendUint64(b, uint64(e.end))
	b = binary.AppendVarint(b, int64(e.end-e.commit))
	b = binary.AppendVarint(b, e.micros)
	b = binary.AppendUvarint(b, uint64(e.back))
	b = binary.AppendUvarint(b, uint64(len(e.relations)))
	for _, id := range e.relations {
		b = binary.AppendUvarint(b, id)
	}
	return b
}

// decode reads an end frame up to its changes. The list of relations is reused.
func (e *ending) decode(r *record.Reader) {
	e.xid = revision.XID(r.Uvarint())
	e.end = revision.LSN(r.Uint64())
	e.commit = e.end - revision.LSN(r.Varint())
	e.micros = r.Varint()
	e.back = int64(r.Uvarint())
	e.relations = e.relations[:0]
	for range r.Count() {
		e.relations = append(e.relations, r.Uvarint())
	}
}
