package liveapi

import (
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// Conn is a connection that needs no goroutine while its request waits.
type Conn interface {
	// Offer writes as much as can be written at once.
	Offer(b []byte) (int, error)
	// Write writes all, or fails if the client takes longer than limit.
	Write(b []byte, limit time.Duration) error
	// Release tells that the response is over. If whole, the connection may have
	// another request; else it is to be closed. It is called once for each request
	// that waited, by any goroutine, and must not block.
	Release(whole bool)
}

// hub holds the connections whose requests wait. Those who wait at one offset of
// one shape are a group, and nobody has a goroutine before there is something.
//
// A seat that is taken out of its group belongs to who took it, who alone writes
// to its connection until the seat is in a group again or released. So no two
// write to one connection, and none writes while the hub is locked.
type hub struct {
	h *Handler
	// work serves groups, so many at a time, as a commit may touch all.
	work *pool

	mu      sync.Mutex // of everything below, and of the places of seats
	groups  map[spot]*group
	wheel   [wheelSlots]*Seat
	turned  int64 // the tick up to which the wheel was looked at
	timed   int   // seats in the wheel
	turning bool
	drained bool
}

// place is an offset of a shape. A shape may be several values with one handle;
// spot is equal for those.
type place struct {
	shape live.Shape
	after live.Offset
}

type spot struct {
	handle string
	after  live.Offset
}

func (p place) spot() spot { return spot{p.shape.Handle(), p.after} }

// group is woken when there may be something for it.
type group struct {
	hub *hub
	place
	news   *live.News // that it waits for, or nil
	first  *Seat
	closed bool // nobody is in it any more
}

// Seat is one connection's place in the hub, for one request after the other. Its
// zero value is ready.
type Seat struct {
	conn Conn

	// Guarded by hub.mu.
	state      seatState
	gone       bool          // the client, while the seat is taken
	free       chan struct{} // closed on release, if somebody waits for it
	group      *group
	prev, next *Seat // in the group
	up, down   *Seat // in the wheel
	slot       int64

	// Of the request. They belong to who has taken the seat. Times are in
	// milliseconds.
	stream, private    bool
	cursor             string
	expires, end, beat int64 // expires is 0 for never
}

type seatState byte

const (
	released seatState = iota
	seated
	taken
)

const (
	tick       = 100 // milliseconds
	wheelSlots = 1 << 10
	maxBusy    = 512
)

func milliseconds() int64 { return time.Now().UnixMilli() }

func (u *hub) init(h *Handler) {
	u.h, u.groups, u.work = h, map[spot]*group{}, newPool(maxBusy)
}

// settle puts taken seats in a place. It returns false if something came there in
// the meantime. Seats whose client is gone, or all once the hub is drained, are
// done with instead.
func (u *hub) settle(p place, seats ...*Seat) bool {
	at := p.spot()
	u.mu.Lock()
	g := u.groups[at]
	for g == nil && !u.drained {
		u.mu.Unlock()
		changed := p.shape.Changed(p.after)
		if changed == nil {
			return false
		}
		u.mu.Lock()
		if g = u.groups[at]; g == nil && !u.drained {
			g = &group{hub: u, place: p}
			u.groups[at] = g
			g.await(changed)
		}
	}
	var gone, late []*Seat
	for _, s := range seats {
		switch {
		case s.gone:
			gone = append(gone, s)
		case u.drained:
			late = append(late, s)
		default:
			s.state, s.group = seated, g
			if s.next = g.first; s.next != nil {
				s.next.prev = s
			}
			g.first = s
			u.time(s)
		}
	}
	if g != nil && g.first == nil && !g.closed {
		u.close(g)
	}
	u.mu.Unlock()
	for _, s := range gone {
		u.release(s, false)
	}
	u.farewell(p, late)
	return true
}

// close ends a group. The hub is locked.
func (u *hub) close(g *group) {
	g.closed = true
	delete(u.groups, g.spot())
	if g.news != nil {
		g.news.Unwatch(g)
	}
}

// take takes a seat out of its group. The hub is locked.
func (u *hub) take(s *Seat) {
	g := s.group
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		g.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.group, s.state = nil, nil, nil, taken
	u.untime(s)
	if g.first == nil {
		u.close(g)
	}
}

// takeAll takes all seats of a group, which ends.
func (u *hub) takeAll(g *group) []*Seat {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []*Seat
	for g.first != nil {
		all = append(all, g.first)
		u.take(g.first)
	}
	return all
}

// release ends the request of a taken seat.
func (u *hub) release(s *Seat, whole bool) {
	u.h.leave()
	s.conn.Release(whole)
	u.vacate(s)
}

// vacate makes a taken seat ready for another request.
func (u *hub) vacate(s *Seat) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.state = released
	if s.free != nil {
		close(s.free)
		s.free = nil
	}
}

// Leave tells that a client is gone, and returns once nobody uses its connection.
func (h *Handler) Leave(s *Seat) {
	u := &h.hub
	u.mu.Lock()
	if s.state == seated {
		u.take(s)
		s.state = released
		u.mu.Unlock()
		h.leave()
		return
	}
	s.gone = true
	u.mu.Unlock()
	h.Await(s)
}

// Await returns once the response to a seat's request is over.
func (h *Handler) Await(s *Seat) {
	u := &h.hub
	u.mu.Lock()
	if s.state == released {
		u.mu.Unlock()
		return
	}
	if s.free == nil {
		s.free = make(chan struct{})
	}
	free := s.free
	u.mu.Unlock()
	<-free
}

// await has the group woken by news. The hub is locked.
func (g *group) await(news *live.News) {
	if g.news = news; !news.Watch(g) {
		g.Wake()
	}
}

// Wake implements live.Watcher.
func (g *group) Wake() { g.hub.work.do(func() { g.hub.serve(g) }) }

// serve serves a group, or has it wait on if there is nothing for it.
func (u *hub) serve(g *group) {
	b, changed, err := u.h.lookOnce(u.h.closing, g.shape, g.after)
	if err != nil || !nothing(b) {
		u.deliver(g.place, b, err, u.takeAll(g))
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	g.news = nil
	switch {
	case g.closed:
	case changed == nil:
		time.AfterFunc(moment, g.Wake)
	default:
		g.await(changed)
	}
}

// drain ends what waits, and lets nobody wait any more.
func (u *hub) drain() {
	u.mu.Lock()
	u.drained = true
	all := make(map[*group][]*Seat, len(u.groups))
	for _, g := range u.groups {
		for g.first != nil {
			all[g] = append(all[g], g.first)
			u.take(g.first)
		}
	}
	u.mu.Unlock()
	for g, seats := range all {
		u.work.do(func() { u.farewell(g.place, seats) })
	}
	u.work.close()
}

// time puts a seat in the wheel. The hub is locked.
func (u *hub) time(s *Seat) {
	due := s.end
	if s.stream {
		due = min(due, s.beat)
	}
	if !u.turning {
		u.turning, u.turned = true, milliseconds()/tick
		go u.turn()
	}
	s.slot = min(max(due/tick+1, u.turned+1), u.turned+wheelSlots-1) % wheelSlots
	s.up = nil
	if s.down = u.wheel[s.slot]; s.down != nil {
		s.down.up = s
	}
	u.wheel[s.slot] = s
	u.timed++
}

// untime takes a seat out of the wheel. The hub is locked.
func (u *hub) untime(s *Seat) {
	if s.up != nil {
		s.up.down = s.down
	} else {
		u.wheel[s.slot] = s.down
	}
	if s.down != nil {
		s.down.up = s.up
	}
	s.up, s.down = nil, nil
	u.timed--
}

// turn looks at the wheel while there is a seat in it.
func (u *hub) turn() {
	ticker := time.NewTicker(tick * time.Millisecond)
	defer ticker.Stop()
	for {
		<-ticker.C
		due, more := u.due(milliseconds())
		for g, seats := range due {
			u.work.do(func() { u.elapsed(g.place, seats) })
		}
		if !more {
			return
		}
	}
}

// due takes the seats for which it is time. more is false if the wheel may rest.
func (u *hub) due(now int64) (due map[*group][]*Seat, more bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	last := now / tick
	for t := max(u.turned+1, last-wheelSlots+1); t <= last; t++ {
		u.turned = t
		for s := u.wheel[t%wheelSlots]; s != nil; {
			next := s.down
			if s.end <= now || s.stream && s.beat <= now {
				g := s.group
				u.take(s)
				if due == nil {
					due = map[*group][]*Seat{}
				}
				due[g] = append(due[g], s)
			} else {
				u.untime(s)
				u.time(s)
			}
			s = next
		}
	}
	u.turning = u.timed > 0
	return due, u.turning
}
