package keep

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/live/disk"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// errSync: after a failed fsync nobody knows which bytes are on the disk, and
// asking again would not tell.
var errSync = errors.New("what was written could not be made durable")

// Sync makes durable what was appended and covered, and returns up to where: a
// position that the log holds whatever happens from here on. It waits for no
// append: of one under way, nothing is made durable. After an error only Restart
// or Continue helps, unless the disk was full.
func (l *Log) Sync() (revision.LSN, error) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	for {
		if lsn, done, err := l.sync(); done || err != nil {
			return lsn, err
		}
	}
}

// sync is done unless the log began anew meanwhile.
func (l *Log) sync() (lsn revision.LSN, done bool, err error) {
	if l.writing.TryLock() {
		err := l.note()
		l.writing.Unlock()
		if err != nil {
			return 0, true, l.fail("sync", err)
		}
	}
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return 0, true, ErrClosed
	case errors.Is(l.failure, errSync):
		err := l.failure
		l.mu.Unlock()
		return 0, true, err
	}
	target, generation, newFiles := l.recorded, l.generation, l.newFiles
	var dirty []*segment
	for _, s := range l.segments {
		if s.dirty {
			s.dirty = false
			s.refs++
			dirty = append(dirty, s)
		}
	}
	l.newFiles = false
	l.mu.Unlock()

	for _, s := range dirty {
		if err == nil {
			err = l.fsync(s.f)
		}
		l.release(s)
	}
	if err == nil && newFiles {
		err = disk.Sync(l.o.Dir)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.generation != generation {
		return 0, false, nil // what was made durable is gone, and so is what failed
	}
	if err != nil {
		err = l.fail("sync", fmt.Errorf("%w: %w", errSync, err))
		l.failed, l.failure = l.end+1, err
		return 0, true, err
	}
	l.synced = max(l.synced, target)
	return l.synced, true, nil
}

// note writes down how far the log is covered beyond its last transaction.
func (l *Log) note() error {
	l.mu.RLock()
	end, recorded, synced := l.end, l.recorded, l.synced
	idle := l.closed || l.failure != nil || len(l.segments) == 0
	damaged := l.damaged
	l.mu.RUnlock()
	if idle {
		return nil
	}
	if damaged {
		if err := l.repair(); err != nil {
			return err
		}
	}
	if end <= recorded {
		return nil
	}
	l.mu.RLock()
	s := l.segments[len(l.segments)-1]
	l.mu.RUnlock()
	b := make([]byte, frameHead, frameHead+16)
	b[8] = kindCover
	b = order.AppendUint64(b, uint64(end))
	b = order.AppendUint64(b, uint64(synced))
	seal(b, s.secret, s.size)
	if err := l.writeAt(s.f, b, s.size); err != nil {
		_ = s.f.Truncate(s.size) // as after a failed append
		return err
	}
	l.mu.Lock()
	s.size += int64(len(b))
	s.recorded, s.dirty = end, true
	l.total += int64(len(b))
	l.recorded = end
	l.mu.Unlock()
	return nil
}
