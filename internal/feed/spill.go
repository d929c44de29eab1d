package feed

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
)

// ErrSpill means that a large transaction could not be kept on disk. Nothing
// is lost: it was not acknowledged and comes again.
var ErrSpill = errors.New("cannot keep a large transaction on disk")

// spillBuffer is how much is written and read at a time.
const spillBuffer = 256 << 10

// spillDir is where transactions go that do not fit in memory.
type spillDir struct {
	path   string
	prefix string        // of this feed's files
	bytes  atomic.Uint64 // ever written
}

// clean removes what an earlier process left behind.
func (d *spillDir) clean() error {
	names, err := filepath.Glob(filepath.Join(d.path, d.prefix+"*"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// spillFile holds the records of one transaction, in order.
type spillFile struct {
	dir  *spillDir
	f    *os.File
	size int64
}

func (d *spillDir) create() (*spillFile, error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, d.wrap(err)
	}
	f, err := os.CreateTemp(d.path, d.prefix+"*")
	if err != nil {
		return nil, d.wrap(err)
	}
	return &spillFile{dir: d, f: f}, nil
}

func (d *spillDir) wrap(err error) error {
	return &Error{
		Op: "spill", Err: fmt.Errorf("%w: %w", ErrSpill, err),
		Hint: "free space in " + d.path + ", or name another directory for large transactions",
	}
}

func (s *spillFile) write(b []byte) error {
	n, err := s.f.Write(b)
	s.size += int64(n)
	s.dir.bytes.Add(uint64(n))
	if err != nil {
		return s.dir.wrap(err)
	}
	return nil
}

func (s *spillFile) remove() {
	s.f.Close()
	os.Remove(s.f.Name())
}

// each calls yield with every message in the file. A message holds until the
// next call.
func (s *spillFile) each(yield func(msg []byte) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(s.f, 0, s.size), spillBuffer)
	var large []byte
	for {
		head, err := r.Peek(recordHeader)
		if errors.Is(err, io.EOF) && len(head) == 0 {
			return nil
		}
		if err != nil {
			return s.dir.wrap(err)
		}
		n := int(binary.BigEndian.Uint32(head))
		var msg []byte
		if recordHeader+n <= spillBuffer {
			rec, err := r.Peek(recordHeader + n)
			if err != nil {
				return s.dir.wrap(err)
			}
			msg = rec[recordHeader:]
		} else {
			r.Discard(recordHeader)
			large = append(large[:0], make([]byte, n)...)
			if _, err := io.ReadFull(r, large); err != nil {
				return s.dir.wrap(err)
			}
			msg = large
		}
		if err := yield(msg); err != nil {
			return err
		}
		if recordHeader+n <= spillBuffer {
			r.Discard(recordHeader + n)
		}
	}
}
