package liveapi

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// Take answers a request, a GET without a body, on a connection of which the
// caller reads requests. Either it returns the whole response, for the caller to
// write; or waits is true, and the hub writes to the connection until it releases
// it. Until then the caller may read, and is to call Leave when the client is
// gone and Await when it has another request.
func (h *Handler) Take(c Conn, s *Seat, r *http.Request) (reply []byte, waits bool) {
	path := r.URL.EscapedPath()
	switch {
	case path == HealthPath:
		return h.health(r).append(nil, false, false), false
	case r.Method != http.MethodGet:
		return h.refuse(path, errMethod, false).append(nil, false, false), false
	}
	a := h.answer(context.Background(), r)
	if a.response == nil {
		if err := h.enter(); err != nil {
			a.response = h.refuse(path, err, a.private)
		}
	}
	if a.response != nil {
		return a.response.append(nil, false, false), false
	}
	s.begin(h, c, a)
	if a.stream {
		h.hub.begin(s, a)
		return nil, true
	}
	p := place{a.shape, a.after}
	for !h.hub.settle(p, s) {
		b, _, err := h.lookOnce(h.closing, p.shape, p.after)
		if err == nil && nothing(b) && milliseconds() < s.end {
			time.Sleep(moment)
			continue
		}
		if a.expired() {
			err = errExpired
		}
		h.leave()
		h.hub.vacate(s)
		return h.hub.reply(p, b, err, s), false
	}
	return nil, true
}

// begin takes a seat for a request.
func (s *Seat) begin(h *Handler, c Conn, a *answered) {
	s.conn, s.stream, s.private = c, a.request.stream, a.private
	s.cursor = strings.Clone(a.cursor) // not all of the address with it
	now, limit := milliseconds(), h.o.Poll
	if s.stream {
		limit = h.streamLength()
	}
	s.end, s.beat, s.expires = now+limit.Milliseconds(), now+h.o.Heartbeat.Milliseconds(), 0
	if !a.expires.IsZero() {
		s.expires = a.expires.UnixMilli()
		s.end = min(s.end, s.expires)
	}
	h.hub.mu.Lock()
	s.state, s.gone = taken, false
	h.hub.mu.Unlock()
}

// begin begins a stream, which it goes on with in the background.
func (u *hub) begin(s *Seat, a *answered) {
	text := u.h.streamHead(a).append(nil, true, false)
	text = appendChunk(text, u.h.greeting(a))
	b := a.first
	if !nothing(b) || a.opening {
		text = appendChunk(text, u.h.events(a.shape, b))
	}
	if err := s.conn.Write(text, u.h.o.WriteLimit); err != nil {
		u.release(s, false)
		return
	}
	u.goOn(a.shape, b, []*Seat{s})
}

// appendChunk appends a chunk of a body of unknown length.
func appendChunk(b, text []byte) []byte {
	if len(text) == 0 {
		return b // it would be the last
	}
	b = strconv.AppendInt(b, int64(len(text)), 16)
	b = append(append(b, "\r\n"...), text...)
	return append(b, "\r\n"...)
}

var (
	lastChunk      = []byte("0\r\n\r\n")
	heartbeatChunk = appendChunk(nil, heartbeat)
)

// deliver gives taken seats what came after their place.
func (u *hub) deliver(p place, b *live.Batch, err error, seats []*Seat) {
	polls, streams := split(seats)
	u.answer(p, b, err, polls, false)
	if len(streams) == 0 {
		return
	}
	if err != nil {
		u.end(streams, u.h.lost(p.shape.Handle(), err))
		return
	}
	u.goOn(p.shape, b, u.push(p.shape, b, appendChunk(nil, u.h.events(p.shape, b)), streams))
}

func split(seats []*Seat) (polls, streams []*Seat) {
	for _, s := range seats {
		if s.stream {
			streams = append(streams, s)
		} else {
			polls = append(polls, s)
		}
	}
	return polls, streams
}

// answer gives polls their response. The last of a connection says so.
func (u *hub) answer(p place, b *live.Batch, err error, seats []*Seat, last bool) {
	if len(seats) == 0 {
		return
	}
	// One response for all, but for what the last cursor and privacy change in it.
	type variant struct {
		cursor  string
		private bool
	}
	var mu sync.Mutex
	made := map[variant][]byte{}
	now := milliseconds()
	bucket := u.h.cursor("", time.Now())
	eachOf(seats, func(s *Seat) bool {
		if s.expires != 0 && s.expires <= now {
			u.finish(s, u.h.refuse(p.shape.Handle(), errExpired, true).append(nil, false, last), !last)
			return false
		}
		v := variant{private: s.private}
		if s.cursor == bucket {
			v.cursor = bucket
		}
		mu.Lock()
		text := made[v]
		if text == nil {
			text = u.response(p, b, err, v.cursor, v.private).append(nil, false, last)
			made[v] = text
		}
		mu.Unlock()
		u.finish(s, text, !last)
		return false
	})
}

// reply returns the response for one poll.
func (u *hub) reply(p place, b *live.Batch, err error, s *Seat) []byte {
	return u.response(p, b, err, s.cursor, s.private).append(nil, false, false)
}

func (u *hub) response(p place, b *live.Batch, err error, cursor string, private bool) *response {
	if err != nil {
		return u.h.refuse(p.shape.Handle(), err, private)
	}
	r := &request{live: true, offset: p.after, cursor: cursor, subscriber: subscriber{private: private}}
	return u.h.batch(r, p.shape, p.after, b)
}

// finish writes the end of a response. A client that does not take it at once gets
// a goroutine.
func (u *hub) finish(s *Seat, text []byte, whole bool) {
	n, err := s.conn.Offer(text)
	if err == nil && n < len(text) {
		go func() {
			err := s.conn.Write(text[n:], u.h.o.WriteLimit)
			u.release(s, whole && err == nil)
		}()
		return
	}
	u.release(s, whole && err == nil)
}

// push writes a text to streams that have got a batch with it. It returns those
// that took all of it; the others go on by themselves, as do those that are over.
func (u *hub) push(shape live.Shape, b *live.Batch, text []byte, seats []*Seat) []*Seat {
	seats = u.current(seats)
	if len(text) == 0 {
		return seats
	}
	beat := milliseconds() + u.h.o.Heartbeat.Milliseconds()
	return eachOf(seats, func(s *Seat) bool {
		s.beat = beat
		n, err := s.conn.Offer(text)
		switch {
		case err != nil:
			u.release(s, false)
		case n < len(text):
			go u.catchUp(shape, b, s, text[n:])
		default:
			return true
		}
		return false
	})
}

// catchUp goes on with a stream whose client is slow: at its own pace.
func (u *hub) catchUp(shape live.Shape, b *live.Batch, s *Seat, rest []byte) {
	if err := s.conn.Write(rest, u.h.o.WriteLimit); err != nil {
		u.release(s, false)
		return
	}
	u.goOn(shape, b, []*Seat{s})
}

// goOn goes on with streams that have got a batch, until there is nothing more.
func (u *hub) goOn(shape live.Shape, b *live.Batch, seats []*Seat) {
	for len(seats) > 0 {
		p := place{shape, b.End}
		if b.UpToDate && u.settle(p, seats...) {
			return
		}
		next, _, err := u.h.lookOnce(u.h.closing, shape, p.after)
		if err != nil {
			u.end(seats, u.h.lost(shape.Handle(), err))
			return
		}
		if b.UpToDate && nothing(next) {
			time.Sleep(moment)
			seats = u.current(seats)
			continue
		}
		// What is up to date is said after a batch that was not, even if it brings
		// nothing else: clients hold back what they have got until then.
		b = next
		seats = u.push(shape, b, appendChunk(nil, u.h.events(shape, b)), seats)
	}
}

// current ends the streams whose time is over, and returns the others.
func (u *hub) current(seats []*Seat) []*Seat {
	now := milliseconds()
	var over []*Seat
	rest := slices.DeleteFunc(seats, func(s *Seat) bool {
		if s.end <= now {
			over = append(over, s)
		}
		return s.end <= now
	})
	u.end(over, nil)
	return rest
}

// end ends streams with a last text.
func (u *hub) end(seats []*Seat, text []byte) {
	if len(seats) == 0 {
		return
	}
	text = append(appendChunk(nil, text), lastChunk...)
	eachOf(seats, func(s *Seat) bool {
		u.finish(s, text, true)
		return false
	})
}

// elapsed sees to taken seats for which it is time.
func (u *hub) elapsed(p place, seats []*Seat) {
	polls, streams := split(seats)
	if len(polls) > 0 {
		b, _, err := u.h.lookOnce(u.h.closing, p.shape, p.after)
		u.answer(p, b, err, polls, false)
	}
	had := &live.Batch{End: p.after, UpToDate: true}
	u.goOn(p.shape, had, u.push(p.shape, had, heartbeatChunk, streams))
}

// farewell ends the requests of taken seats since the server stops.
func (u *hub) farewell(p place, seats []*Seat) {
	if len(seats) == 0 {
		return
	}
	polls, streams := split(seats)
	u.end(streams, nil)
	if len(polls) > 0 {
		b, _, err := u.h.lookOnce(u.h.closing, p.shape, p.after)
		u.answer(p, b, err, polls, true)
	}
}

// eachOf calls f with each seat, on several processors if there are many. It
// returns those that f keeps.
func eachOf(seats []*Seat, f func(*Seat) bool) []*Seat {
	const least = 256
	parts := min(runtime.GOMAXPROCS(0), len(seats)/least+1)
	var wg sync.WaitGroup
	for part := range slices.Chunk(seats, max(1, (len(seats)+parts-1)/parts)) {
		do := func() {
			for i, s := range part {
				if !f(s) {
					part[i] = nil // it may be another's by now
				}
			}
		}
		if parts == 1 {
			do()
		} else {
			wg.Go(do)
		}
	}
	wg.Wait()
	return slices.DeleteFunc(seats, func(s *Seat) bool { return s == nil })
}
