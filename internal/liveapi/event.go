package liveapi

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// heartbeat is a comment, which clients pass over.
var heartbeat = []byte(": keep-alive\n\n")

// mustRefetch tells a stream's client to begin again, and a browser to forget the
// id of its last event.
var mustRefetch = []byte("id:\ndata: " + live.MustRefetch[1:len(live.MustRefetch)-1] + "\n\n")

// streamLength is how long a stream goes on: a little less than the limit that
// caches know, and not the same for those who came together.
func (h *Handler) streamLength() time.Duration {
	return h.o.Stream - h.o.Stream/60 - jitter(h.o.Stream/15)
}

// streamHead makes the head of an event stream.
func (h *Handler) streamHead(a *answered) *response {
	w := &response{status: http.StatusOK, fields: make([]field, 0, 16)}
	h.position(w, a.request, a.shape, a.after)
	switch {
	case a.private || a.named() || a.byAccept || a.resume:
		w.add("cache-control", cacheNever)
	default:
		w.add("cache-control", "public, max-age="+strconv.Itoa(max(1, int(h.o.Stream/time.Second)-1)))
	}
	w.add("content-type", typeEvents)
	w.add("x-accel-buffering", "no")
	return w.shared()
}

// greeting is what a stream begins with.
func (h *Handler) greeting(a *answered) []byte {
	b := append([]byte("retry: "), strconv.FormatInt(1000+int64(jitter(2000)), 10)...)
	b = append(b, "\n\n"...)
	if a.refetch {
		b = append(b, mustRefetch...)
	}
	return b
}

// events returns a batch as the events of a stream. It is shared by all who get
// the batch, and not changed.
func (h *Handler) events(s live.Shape, b *live.Batch) []byte {
	if len(b.Messages) == 0 {
		return h.makeEvents(s, b)
	}
	handle := s.Handle()
	text := h.made.get(b, handle)
	if text == nil {
		text = h.makeEvents(s, b)
		h.made.put(b, handle, text)
	}
	return text
}

// makeEvents writes the events of a batch. The last has an id, from which a client
// goes on that lost its connection.
func (h *Handler) makeEvents(s live.Shape, b *live.Batch) []byte {
	last, messages := b.Messages, []byte(nil)
	if b.UpToDate {
		messages, last = b.Messages, live.AppendUpToDate(nil, b.At, h.o.Host.Token(b.At), true)
	} else if i := bytes.LastIndexByte(b.Messages, '\n'); i > 0 {
		messages, last = b.Messages[:i-1], b.Messages[i+1:]
	}
	if len(last) == 0 {
		return nil
	}
	out := live.AppendEvents(make([]byte, 0, len(b.Messages)+len(b.Messages)/8+256), messages)
	out = append(append(out, "id: "...), s.Handle()...)
	out = append(append(append(out, '/'), b.End.String()...), '\n')
	return live.AppendEvents(out, last)
}

// lost returns what ends a stream that cannot go on.
func (h *Handler) lost(path string, err error) []byte {
	if r := h.refuse(path, err, true); r.status == http.StatusConflict {
		return mustRefetch
	}
	return nil // the client comes back, and is told then
}

// made holds the events of the batches that were written last.
type made struct {
	mu   sync.Mutex
	next int
	of   [16]madeEvents
}

type madeEvents struct {
	batch  *live.Batch
	handle string
	text   []byte
}

// maxMade bounds a text that is kept.
const maxMade = 256 << 10

func (m *made) get(b *live.Batch, handle string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.of {
		if m.of[i].batch == b && m.of[i].handle == handle {
			return m.of[i].text
		}
	}
	return nil
}

func (m *made) put(b *live.Batch, handle string, text []byte) {
	if len(text) > maxMade {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of[m.next] = madeEvents{b, handle, text}
	m.next = (m.next + 1) % len(m.of)
}
