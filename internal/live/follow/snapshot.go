package follow

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/record"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// snapshot is where newcomers of one handle begin. Its rows are in the file, for
// ever the same: what a client and caches on the way have of it, they have under
// its handle.
type snapshot struct {
	number   uint64
	after    live.Offset // of the last message that its rows have in them
	chunk    int         // bytes of rows in one chunk, about
	at, size int64       // of its record; 0, 0: only those who have it all go on from it
	logged   int64       // bytes of differences before it
	views    map[string]*view
}

// view is a snapshot as one topic gets it.
type view struct {
	chunks int   // at least one
	used   int64 // Unix nanoseconds
	// For a while: where each chunk's rows are in the file, and those that were
	// asked for.
	bounds  []int64
	batches map[int]*live.Batch
	bytes   int
}

// maxViewed bounds the bytes of chunks that are held for those who come next.
const maxViewed = 256 << 10

// view returns a snapshot as a topic gets it. Its file's lock is held.
func (s *snapshot) view(d *Definition, f *file, topic string, now int64) (*view, error) {
	v := s.views[topic]
	if v == nil {
		v = &view{}
	}
	v.used = now
	if v.chunks == 0 && s.size == 0 {
		return nil, errDropped
	}
	if v.chunks == 0 {
		if err := v.divide(s, d, f, topic); err != nil {
			return nil, err
		}
	}
	if s.views == nil {
		s.views = map[string]*view{}
	}
	s.views[topic] = v
	return v, nil
}

// divide finds where the chunks are.
func (v *view) divide(s *snapshot, d *Definition, f *file, topic string) error {
	payload, err := f.read(s.at, s.size)
	if err != nil {
		return err
	}
	r, err := readSnapshot(payload)
	if err != nil || r.number != s.number {
		return errTorn
	}
	start := s.at + s.size - int64(len(r.rows))
	v.bounds = []int64{start}
	cells := make([][]byte, len(d.names))
	filled := 0
	for rows := (record.Reader{Rest: r.rows}); len(rows.Rest) > 0; {
		left := int64(len(rows.Rest))
		if _, err := readRow(&rows, cells); err != nil {
			return err
		}
		if topic != "" {
			of, err := d.topicOf(cells)
			if err != nil {
				return err
			}
			if of != topic {
				continue
			}
		}
		if filled >= s.chunk {
			v.bounds = append(v.bounds, s.at+s.size-left)
			filled = 0
		}
		filled += int(left) - len(rows.Rest) + rowOverhead
	}
	v.chunks = len(v.bounds)
	v.bounds = append(v.bounds, s.at+s.size)
	v.batches, v.bytes = map[int]*live.Batch{}, 0
	return nil
}

var errDropped = errors.New("its beginning is not kept any more")

// former returns what is left of a snapshot whose rows are dropped.
func (s *snapshot) former() snapshot {
	out := snapshot{number: s.number, after: s.after, chunk: s.chunk, views: map[string]*view{}}
	for topic, v := range s.views {
		out.views[topic] = &view{chunks: v.chunks, used: v.used}
	}
	return out
}

// rowOverhead is about what a message has beside the values of its row.
const rowOverhead = 120

// topicOf returns the topic of a row.
func (d *Definition) topicOf(cells [][]byte) (string, error) {
	i := d.Account
	text, null, err := d.types[i].AppendAnswer(nil, cells[i])
	if err != nil {
		return "", fmt.Errorf("column %s: %w", d.names[i], err)
	}
	if null {
		return "", nil
	}
	return topicOf(string(text)), nil
}

// batch returns one chunk.
func (v *view) batch(s *snapshot, d *Definition, f *file, topic string, i int) (*live.Batch, error) {
	if b := v.batches[i]; b != nil {
		return b, nil
	}
	if v.bounds == nil {
		if s.size == 0 {
			return nil, errDropped
		}
		if err := v.divide(s, d, f, topic); err != nil {
			return nil, err
		}
	}
	chunk, err := f.readRange(v.bounds[i], v.bounds[i+1]-v.bounds[i])
	if err != nil {
		return nil, err
	}
	var messages, buf []byte
	var row change.Row
	cells := make([][]byte, len(d.names))
	for rows := (record.Reader{Rest: chunk}); len(rows.Rest) > 0; {
		twin, err := readRow(&rows, cells)
		if err != nil {
			return nil, err
		}
		if row, buf, err = d.text(cells, row, buf); err != nil {
			return nil, err
		}
		if topic != "" && d.topic(row) != topic {
			continue
		}
		if messages, err = d.encoder.AppendSnapshot(messages, nil, row, twin); err != nil {
			return nil, err
		}
	}
	b := &live.Batch{Messages: messages, End: live.Offset{Index: uint64(i)}}
	if i == v.chunks-1 {
		// An answer is true at a position: no transaction is missing of those before
		// it, so that its messages are told apart from the snapshot by their order.
		b.Messages = live.AppendSnapshotEnd(b.Messages, &revision.Snapshot{})
		b.SnapshotEnd = true
	}
	b.Messages = bytes.Clone(b.Messages) // without the room to grow
	if v.bytes += len(b.Messages); v.bytes > maxViewed {
		clear(v.batches)
		v.bytes = len(b.Messages)
	}
	v.batches[i] = b
	return b, nil
}

// rest gives back what nobody has asked for since then.
func (s *snapshot) rest(since int64) {
	for topic, v := range s.views {
		if v.used >= since {
			continue
		}
		if v.bounds == nil {
			delete(s.views, topic)
			continue
		}
		v.bounds, v.batches, v.bytes = nil, nil, 0
	}
}
