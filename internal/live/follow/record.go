package follow

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/record"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// A file is a list of records, each behind its length and its checksum, both of
// four bytes: one header, then snapshots and differences in the order of their
// offsets. Numbers are varints, texts have their length before them.
//
// A difference says at which offset the one before it ended, so that one which
// could not be written is missed. It holds old and new rows, from which its
// messages are made as they were the first time. The rows of now are those of the
// last snapshot with the differences behind it.
const (
	fileVersion = 1

	kindHeader     = 'H'
	kindSnapshot   = 'S'
	kindDifference = 'D'

	frameSize = 8
	// maxRecord is above what an answer of 64 MiB can make of one.
	maxRecord = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn means that the bytes from there on are not a record.
var errTorn = errors.New("a record is cut short or damaged")

// beginRecord leaves room for what endRecord writes.
func beginRecord(b []byte, kind byte) []byte {
	return append(append(b, make([]byte, frameSize)...), kind)
}

// endRecord writes the length and checksum of the record that begins at start.
func endRecord(b []byte, start int) []byte {
	payload := b[start+frameSize:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// nextRecord returns the first record of b without its frame, and its whole size.
func nextRecord(b []byte) (payload []byte, size int, err error) {
	if len(b) < frameSize {
		return nil, 0, errTorn
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxRecord || uint64(n) > uint64(len(b)-frameSize) {
		return nil, 0, errTorn
	}
	payload = b[frameSize : frameSize+int(n)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, 0, errTorn
	}
	return payload, frameSize + int(n), nil
}

// header says whose rows a file has.
type header struct {
	source      revision.Source
	incarnation string
	print       string // of the definition
	key         string // of the answer
	begin       live.Offset
	next        uint64 // number of the next snapshot, at least
}

// snapshotRecord is where newcomers begin.
type snapshotRecord struct {
	number uint64
	after  live.Offset // of the last message before it
	chunk  uint64      // bytes of rows in one chunk, about
	rows   []byte      // as pack wrote them
}

// differenceRecord is a difference as a file has it.
type differenceRecord struct {
	lsn   revision.LSN
	xid   revision.XID
	prev  live.Offset // of the last message before it
	first uint64      // index of its first message
	count uint64      // of messages
	steps []byte
}

func appendOffset(b []byte, o live.Offset) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(o.LSN)), o.Index)
}

func (h *header) append(b []byte) []byte {
	start := len(b)
	b = beginRecord(b, kindHeader)
	b = append(b, fileVersion)
	b = binary.AppendUvarint(b, h.source.SystemID)
	b = binary.AppendUvarint(b, uint64(h.source.Timeline))
	for _, s := range []string{h.incarnation, h.print, h.key} {
		b = record.AppendText(b, s)
	}
	b = appendOffset(b, h.begin)
	b = binary.AppendUvarint(b, h.next)
	return endRecord(b, start)
}

func (r *snapshotRecord) append(b []byte) []byte {
	start := len(b)
	b = beginRecord(b, kindSnapshot)
	b = binary.AppendUvarint(b, r.number)
	b = appendOffset(b, r.after)
	b = binary.AppendUvarint(b, r.chunk)
	return endRecord(append(b, r.rows...), start)
}

// appendDifference appends the record of a difference.
func appendDifference(b []byte, e *entry, steps []step, xid revision.XID, prev live.Offset) []byte {
	start := len(b)
	b = beginRecord(b, kindDifference)
	b = binary.AppendUvarint(b, uint64(e.lsn))
	b = binary.AppendUvarint(b, uint64(xid))
	b = appendOffset(b, prev)
	b = binary.AppendUvarint(b, e.first)
	b = binary.AppendUvarint(b, e.count)
	for _, s := range steps {
		b = append(b, byte(s.op))
		if s.old != nil {
			b = appendRow(b, s.old, s.twin)
		}
		if s.row != nil {
			b = appendRow(b, s.row, s.twin)
		}
	}
	return endRecord(b, start)
}

func readOffset(r *record.Reader) live.Offset {
	return live.Offset{LSN: revision.LSN(r.Uvarint()), Index: r.Uvarint()}
}

// whole is nil if all was there that was read.
func whole(r *record.Reader) error {
	if r.Bad {
		return errTorn
	}
	return nil
}

func readHeader(payload []byte) (header, error) {
	if len(payload) < 2 || payload[0] != kindHeader || payload[1] != fileVersion {
		return header{}, errTorn
	}
	r := record.Reader{Rest: payload[2:]}
	h := header{source: revision.Source{SystemID: r.Uvarint(), Timeline: uint32(r.Uvarint())}}
	h.incarnation, h.print, h.key = string(r.Text()), string(r.Text()), string(r.Text())
	h.begin = readOffset(&r)
	h.next = r.Uvarint()
	return h, whole(&r)
}

func readSnapshot(payload []byte) (snapshotRecord, error) {
	r := record.Reader{Rest: payload[1:]}
	s := snapshotRecord{number: r.Uvarint(), after: readOffset(&r), chunk: r.Uvarint()}
	s.rows = r.Rest
	return s, whole(&r)
}

func readDifference(payload []byte) (differenceRecord, error) {
	r := record.Reader{Rest: payload[1:]}
	d := differenceRecord{lsn: revision.LSN(r.Uvarint()), xid: revision.XID(r.Uvarint()), prev: readOffset(&r), first: r.Uvarint(), count: r.Uvarint()}
	d.steps = r.Rest
	return d, whole(&r)
}

func (r *differenceRecord) last() live.Offset {
	return live.Offset{LSN: r.lsn, Index: r.first + r.count - 1}
}

// read returns the steps of a difference.
func (r *differenceRecord) read(columns int) ([]step, error) {
	var steps []step
	for in := (record.Reader{Rest: r.steps}); len(in.Rest) > 0; {
		s := step{op: change.Op(in.Byte())}
		if s.op != change.Insert && s.op != change.Update && s.op != change.Delete {
			return nil, errTorn
		}
		var err error
		if s.op != change.Insert {
			s.old = make([][]byte, columns)
			if s.twin, err = readRow(&in, s.old); err != nil {
				return nil, err
			}
		}
		if s.op != change.Delete {
			s.row = make([][]byte, columns)
			if s.twin, err = readRow(&in, s.row); err != nil {
				return nil, err
			}
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// entryOf makes the messages of a difference again.
func (d *Definition) entryOf(r *differenceRecord) (*entry, error) {
	steps, err := r.read(len(d.names))
	if err != nil {
		return nil, err
	}
	e, _, err := d.encode(steps, live.Offset{LSN: r.lsn, Index: r.first}, r.xid)
	if err == nil && e.count != r.count {
		err = errTorn
	}
	return e, err
}
