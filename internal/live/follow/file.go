package follow

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// file is the durable side of one followed answer. It is opened for each use:
// there may be more answers than descriptors. Its owner's lock guards it.
type file struct {
	path string
	size int64
	// logged are the bytes of differences in it.
	logged int64
	// broken says that something could not be written, so that the file does not
	// say what followers have. It is written anew at the next occasion.
	broken bool
}

// loaded is what a file says.
type loaded struct {
	header
	snapshots []snapshot
	rows      *table
	last      live.Offset
	size      int64
	logged    int64
}

// errUseless means that nobody can go on from what a file has.
var errUseless = errors.New("nothing in the file can be continued")

// load reads a file for an answer, and cuts off what is not whole at its end.
func (f *file) load(key string, d *Definition) (*loaded, error) {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	payload, size, err := nextRecord(b)
	if err != nil {
		return nil, errUseless
	}
	l := &loaded{}
	if l.header, err = readHeader(payload); err != nil || l.key != key || l.print != d.print {
		return nil, errUseless
	}
	l.last = l.begin
	l.size = int64(size)
	for rest := b[size:]; len(rest) > 0; rest = rest[size:] {
		if payload, size, err = nextRecord(rest); err != nil {
			break
		}
		if err = l.take(d, payload, int64(size)); err != nil {
			break
		}
		l.size += int64(size)
	}
	if l.rows == nil {
		return nil, errUseless
	}
	if l.size < int64(len(b)) {
		if err := os.Truncate(f.path, l.size); err != nil {
			return nil, err
		}
	}
	f.size, f.logged, f.broken = l.size, l.logged, false
	return l, nil
}

// take takes what a file says on by one record.
func (l *loaded) take(d *Definition, payload []byte, size int64) error {
	switch payload[0] {
	case kindSnapshot:
		r, err := readSnapshot(payload)
		if err != nil {
			return err
		}
		if r.after != l.last {
			return errTorn
		}
		rows, err := d.unpack(r.rows)
		if err != nil {
			return err
		}
		l.rows = rows
		l.next = max(l.next, r.number+1)
		l.snapshots = append(l.snapshots, snapshot{number: r.number, after: r.after, chunk: int(r.chunk), at: l.size, size: size, logged: l.logged})
	case kindDifference:
		r, err := readDifference(payload)
		if err != nil {
			return err
		}
		if r.prev != l.last || r.count == 0 || r.lsn <= l.last.LSN {
			return errTorn
		}
		steps, err := r.read(len(d.names))
		if err != nil {
			return err
		}
		if l.rows != nil {
			if l.rows, err = d.apply(l.rows, steps); err != nil {
				return err
			}
		}
		l.last = r.last()
		l.logged += size
	default:
		return errTorn
	}
	return nil
}

// append writes records at the end.
func (f *file) append(records []byte) error {
	w, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		var at int64
		// What is not as it was left is somebody else's.
		if at, err = w.Seek(0, io.SeekEnd); err == nil && at != f.size {
			err = fmt.Errorf("%s has %d bytes and should have %d", f.path, at, f.size)
		}
		if err == nil {
			_, err = w.Write(records)
		}
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		f.spoil()
		return fmt.Errorf("append to what followers of an answer have: %w", err)
	}
	f.size += int64(len(records))
	return nil
}

// spoil drops a file that can no longer say what followers have. From one that
// stayed, another process would go on, and tell again what they know.
func (f *file) spoil() {
	f.broken = true
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Truncate(f.path, 0) // where that fails, too, the file was not to be written at all
	}
}

// replace writes the whole file anew.
func (f *file) replace(content []byte) error {
	temp := f.path + ".new"
	err := os.MkdirAll(filepath.Dir(f.path), 0o700)
	if err == nil {
		err = os.WriteFile(temp, content, 0o600)
	}
	if err == nil {
		err = os.Rename(temp, f.path)
	}
	if err != nil {
		f.spoil()
		os.Remove(temp)
		return fmt.Errorf("write what followers of an answer have: %w", err)
	}
	f.size, f.broken = int64(len(content)), false
	return nil
}

// read returns one record without its frame.
func (f *file) read(at, size int64) ([]byte, error) {
	b, err := f.readRange(at, size)
	if err != nil {
		return nil, err
	}
	payload, _, err := nextRecord(b)
	return payload, err
}

// readRange returns some bytes of the file.
func (f *file) readRange(at, size int64) ([]byte, error) {
	if f.broken {
		return nil, errTorn
	}
	r, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, size)
	if _, err := r.ReadAt(b, at); err != nil {
		return nil, err
	}
	return b, nil
}

// differences calls yield with the differences of the file, oldest first, and
// the record of each. What snapshots take is passed over.
func (f *file) differences(snapshots []snapshot, yield func(r *differenceRecord, record []byte) error) error {
	at := int64(0)
	region := func(end int64) error {
		b, err := f.readRange(at, end-at)
		for err == nil && len(b) > 0 {
			var payload []byte
			var size int
			if payload, size, err = nextRecord(b); err != nil {
				break
			}
			if payload[0] == kindDifference {
				var r differenceRecord
				if r, err = readDifference(payload); err == nil {
					err = yield(&r, b[:size])
				}
			}
			b = b[size:]
		}
		return err
	}
	for i := range snapshots {
		if snapshots[i].size == 0 {
			continue
		}
		if err := region(snapshots[i].at); err != nil {
			return err
		}
		at = snapshots[i].at + snapshots[i].size
	}
	return region(f.size)
}
