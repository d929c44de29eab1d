package table

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/live/disk"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// snapshot is what is kept of a handle on disk: the messages of its rows, in
// chunks, and where it joins the log. It is immutable.
//
// The file is the chunks, then for each chunk where it ends (8 bytes) and its
// CRC (4 bytes), then a header as JSON, then the lengths of these two and their CRC
// (three times 4 bytes), then the magic; numbers are big-endian.
type snapshot struct {
	Source revision.Source
	// Snapshot is what the rows are of. Nothing in it ends after Upper. Every
	// transaction that is not in it ends after First.
	Snapshot     revision.Snapshot
	First, Upper revision.LSN
	Chunks       int
	Mark         mark

	path  string
	ends  int64 // where the list of chunks begins
	inUse int64 // bytes on disk
}

// header is what a file says of a snapshot.
type header struct {
	Source   revision.Source   `json:"source"`
	Snapshot revision.Snapshot `json:"snapshot"`
	First    uint64            `json:"first"`
	Upper    uint64            `json:"upper"`
	Mark     mark              `json:"mark"`
}

const (
	fileMagic  = "tidemark shape 1"
	fileSuffix = ".shape"
	chunkEntry = 12
	trailer    = 12 + len(fileMagic)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *Hub) folder() string { return filepath.Join(h.opts.Dir, "shapes") }

func (h *Hub) path(handle string) string { return filepath.Join(h.folder(), handle+fileSuffix) }

// openDir makes the folder, removes what was not finished, and lists the handles.
func (h *Hub) openDir() (map[string][]string, error) {
	if err := os.MkdirAll(h.folder(), 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(h.folder())
	if err != nil {
		return nil, err
	}
	handles := map[string][]string{}
	for _, e := range entries {
		handle, ok := strings.CutSuffix(e.Name(), fileSuffix)
		hash, number := splitHandle(handle)
		if !ok || number == "" {
			if strings.HasSuffix(e.Name(), ".new") {
				_ = os.Remove(filepath.Join(h.folder(), e.Name())) // nobody has been told of it
			}
			continue
		}
		handles[hash] = append(handles[hash], handle)
	}
	for _, list := range handles {
		slices.SortFunc(list, compareHandles)
	}
	return handles, nil
}

// splitHandle returns the hash of the definition and the number of a handle, which
// is empty if it is not one.
func splitHandle(handle string) (hash, number string) {
	hash, number, _ = strings.Cut(handle, "-")
	if len(hash) != 20 || len(number) > 20 || strings.Trim(hash, "0123456789abcdef") != "" || strings.Trim(number, "0123456789") != "" {
		return "", ""
	}
	return hash, number
}

// compareHandles orders handles of one definition by age.
func compareHandles(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// fileWriter writes the file of a handle, a chunk at a time.
type fileWriter struct {
	f     *os.File
	at    int64
	chunk []byte
	ends  []byte
}

func createFile(dir string) (*fileWriter, error) {
	f, err := os.CreateTemp(dir, "*.new")
	if err != nil {
		return nil, diskError(err)
	}
	return &fileWriter{f: f}, nil
}

// end ends the chunk.
func (w *fileWriter) end() error {
	if _, err := w.f.Write(w.chunk); err != nil {
		return diskError(err)
	}
	w.at += int64(len(w.chunk))
	w.ends = binary.BigEndian.AppendUint64(w.ends, uint64(w.at))
	w.ends = binary.BigEndian.AppendUint32(w.ends, crc32.Checksum(w.chunk, castagnoli))
	w.chunk = w.chunk[:0]
	return nil
}

// finish makes the file durable under its name.
func (w *fileWriter) finish(s *snapshot, path string) error {
	s.Chunks = len(w.ends) / chunkEntry
	meta, err := json.Marshal(header{s.Source, s.Snapshot, uint64(s.First), uint64(s.Upper), s.Mark})
	if err != nil {
		return err
	}
	tail := slices.Concat(w.ends, meta)
	sum := crc32.Checksum(tail, castagnoli)
	tail = binary.BigEndian.AppendUint32(tail, uint32(len(w.ends)))
	tail = binary.BigEndian.AppendUint32(tail, uint32(len(meta)))
	tail = binary.BigEndian.AppendUint32(tail, sum)
	tail = append(tail, fileMagic...)
	_, err = w.f.Write(tail)
	if err == nil {
		err = w.f.Sync()
	}
	if e := w.f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(w.f.Name(), path)
	}
	if err == nil {
		err = disk.Sync(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(w.f.Name())
		return diskError(err)
	}
	s.path, s.ends, s.inUse = path, w.at, w.at+int64(len(tail))
	return nil
}

// discard removes a file that is not finished.
func (w *fileWriter) discard() {
	w.f.Close()
	_ = os.Remove(w.f.Name()) // or the next start does
}

func diskError(err error) error {
	if err == nil {
		return nil
	}
	return unavailable("the folder of shapes: %w (see live.dir)", err)
}

// readFile reads what the file of a handle says of it.
func readFile(path string) (*snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := st.Size()
	end := make([]byte, trailer)
	if size < int64(trailer) {
		return nil, errDamaged
	}
	if _, err := f.ReadAt(end, size-int64(trailer)); err != nil {
		return nil, err
	}
	ends, meta := int64(binary.BigEndian.Uint32(end)), int64(binary.BigEndian.Uint32(end[4:]))
	if string(end[12:]) != fileMagic || ends+meta > size-int64(trailer) || ends == 0 || ends%chunkEntry != 0 {
		return nil, errDamaged
	}
	tail := make([]byte, ends+meta)
	at := size - int64(trailer) - ends - meta
	if _, err := f.ReadAt(tail, at); err != nil {
		return nil, err
	}
	var m header
	if crc32.Checksum(tail, castagnoli) != binary.BigEndian.Uint32(end[8:]) || json.Unmarshal(tail[ends:], &m) != nil {
		return nil, errDamaged
	}
	return &snapshot{
		Source: m.Source, Snapshot: m.Snapshot, First: revision.LSN(m.First), Upper: revision.LSN(m.Upper), Mark: m.Mark,
		Chunks: int(ends / chunkEntry), path: path, ends: at, inUse: size,
	}, nil
}

// readChunk returns the messages of a chunk.
func (h *Hub) readChunk(s *snapshot, n int) ([]byte, error) {
	f, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: they are gone", errDamaged)
	}
	if err != nil {
		return nil, diskError(err)
	}
	defer f.Close()
	b := make([]byte, 2*chunkEntry)
	if _, err := f.ReadAt(b[chunkEntry:], s.ends+int64(n)*chunkEntry); err != nil {
		return nil, chunkError(err)
	}
	if n > 0 {
		if _, err := f.ReadAt(b[:chunkEntry], s.ends+int64(n-1)*chunkEntry); err != nil {
			return nil, chunkError(err)
		}
	}
	from, to := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[chunkEntry:]))
	if from < 0 || to < from || to > s.ends {
		return nil, errDamaged
	}
	if from == to {
		return nil, nil
	}
	out := make([]byte, to-from)
	if _, err := f.ReadAt(out, from); err != nil {
		return nil, chunkError(err)
	}
	if crc32.Checksum(out, castagnoli) != binary.BigEndian.Uint32(b[chunkEntry+8:]) {
		return nil, errDamaged
	}
	return out, nil
}

func chunkError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errDamaged
	}
	return diskError(err)
}
