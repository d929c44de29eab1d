package answer

import (
	"container/heap"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrOverloaded: too many answers wait to be computed. The error found is an
// OverloadedError.
var ErrOverloaded = errors.New("too many answers wait to be computed")

// OverloadedError refuses a request because too many fills wait.
type OverloadedError struct {
	// RetryAfter is about when those that wait now will be done.
	RetryAfter time.Duration
}

func (e *OverloadedError) Error() string {
	return fmt.Sprintf("%v; try again in %v", ErrOverloaded, e.RetryAfter.Round(time.Millisecond))
}

// Is reports that the error is an ErrOverloaded.
func (e *OverloadedError) Is(target error) bool { return target == ErrOverloaded }

// priority says which fills go first.
type priority byte

const (
	demand     priority = iota // somebody waits
	background                 // nobody does
	priorities
)

// jobState is where a job is on its way.
type jobState byte

const (
	jobNew     jobState = iota
	jobQueued           // in its group's list
	jobRunning          // given a slot, or waiting between two
	jobGone             // taken out of the queue unserved
)

// job is something that needs a slot: a fill, or a query at a pinned snapshot.
// All but group, fill and start is guarded by queue.mu.
type job struct {
	group *Group
	fill  *fill
	start chan struct{} // without a fill: closed when the slot is given

	priority priority
	state    jobState
	alone    bool    // not to be computed with others
	worth    float32 // of a background job: those of less give way
	place    int     // in the heap of background jobs

	prev, next *job
}

// waitList is the waiting jobs of one group, first in first out.
type waitList struct {
	head, tail *job
	turn       bool // the group is in queue.turns
}

// queue gives out the slots for calls of a Source. Groups take turns, and of one
// group who came first goes first. Its lock is inside all others.
type queue struct {
	slots, most, refills int
	// launch starts jobs that got a slot. The lock is held.
	launch func(jobs []*job, p priority)

	mu      sync.Mutex
	closed  bool
	busy    [priorities]int
	waiting [priorities]int
	turns   [priorities][]*Group
	least   jobHeap       // what waits in the background, the least worth first
	took    time.Duration // by one fill's share of a slot, recently
}

var (
	errGone     = errors.New("it was taken out of the queue")
	errNotWorth = errors.New("others are worth more")
)

// push adds a job and starts what can start. A demand job beyond the bound is
// refused. A background job beyond its bound is refused or takes the place of
// the one that is worth least, which is returned and of state jobGone.
func (q *queue) push(j *job) (victim *job, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, ErrClosing
	case j.priority == demand && q.waiting[demand] >= q.most:
		return nil, q.overloaded()
	case j.priority == background && q.waiting[background] >= q.refills:
		if len(q.least) == 0 || q.least[0].worth >= j.worth {
			return nil, errNotWorth
		}
		victim = q.least[0]
		q.unlink(victim)
		victim.state = jobGone
	}
	q.link(j, false)
	q.dispatch()
	return victim, nil
}

// again adds a job that had a slot before its group's others, whatever waits.
func (q *queue) again(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosing
	}
	q.link(j, true)
	q.dispatch()
	return nil
}

// promote makes a demand of a background job.
func (q *queue) promote(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case j.state == jobGone:
		return errGone
	case j.priority == demand:
		return nil
	case j.state == jobQueued:
		if q.waiting[demand] >= q.most {
			return q.overloaded()
		}
		q.unlink(j)
		j.priority = demand
		q.link(j, false)
		q.dispatch()
	default:
		j.priority = demand // from its next slot on
	}
	return nil
}

// remove takes a job out if it still waits.
func (q *queue) remove(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.state != jobQueued {
		return false
	}
	q.unlink(j)
	j.state = jobGone
	return true
}

// single says that a job is not to share a slot any more, and its priority.
func (q *queue) single(j *job) priority {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.alone = true
	return j.priority
}

// release gives a slot back that n fills of a group had for a time; n 0: without
// a measure.
func (q *queue) release(g *Group, p priority, took time.Duration, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy[p]--
	g.running[p]--
	if n > 0 {
		share := took / time.Duration(n)
		q.took = smoothed(q.took, share)
		g.took = smoothed(g.took, share)
	}
	q.dispatch()
}

// smoothed is the average of recent durations, with a new one.
func smoothed(average, d time.Duration) time.Duration {
	if average == 0 {
		return max(d, 1)
	}
	return max(average+(d-average)/8, 1)
}

// What waits for one group is computed together as far as that takes no longer
// than batchTime in all, so that nobody waits for slow statements of others.
// A group whose fills are quick has at most a quarter of the slots for either
// priority: what comes meanwhile waits for a moment, and then needs one query and
// not many.
const (
	batchTime  = 50 * time.Millisecond
	firstBatch = 8 // as long as nobody knows how long one takes
	quickFill  = 5 * time.Millisecond
)

// batch returns how many fills of a group may share a slot.
func (g *Group) batch() int {
	n := firstBatch
	if g.took > 0 {
		n = int(min(batchTime/g.took, 1<<20))
	}
	return max(1, min(n, g.Batch))
}

// held reports whether a group has to wait for a slot of its own.
func (q *queue) held(g *Group, p priority) bool {
	return g.Batch > 1 && g.took > 0 && g.took < quickFill && g.running[p] >= max(1, q.slots/4)
}

// close refuses what comes from now on, and returns what waits.
func (q *queue) close() []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	var left []*job
	for p := range priorities {
		for _, g := range q.turns[p] {
			for g.waiting[p].head != nil {
				j := g.waiting[p].head
				q.unlink(j)
				j.state = jobGone
				left = append(left, j)
			}
		}
	}
	return left
}

// load returns how many jobs wait and run.
func (q *queue) load() (waiting, busy [priorities]int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.busy
}

// Bounds of what an OverloadedError says.
const (
	minRetryAfter = 100 * time.Millisecond
	maxRetryAfter = time.Minute
)

func (q *queue) overloaded() error {
	after := q.took * time.Duration(q.waiting[demand]) / time.Duration(q.slots)
	return &OverloadedError{min(max(after, minRetryAfter), maxRetryAfter)}
}

func (q *queue) link(j *job, first bool) {
	l := &j.group.waiting[j.priority]
	j.state = jobQueued
	switch {
	case l.head == nil:
		l.head, l.tail = j, j
	case first:
		j.next, l.head.prev = l.head, j
		l.head = j
	default:
		j.prev, l.tail.next = l.tail, j
		l.tail = j
	}
	if !l.turn {
		l.turn = true
		q.turns[j.priority] = append(q.turns[j.priority], j.group)
	}
	q.waiting[j.priority]++
	if j.priority == background {
		heap.Push(&q.least, j)
	}
}

func (q *queue) unlink(j *job) {
	l := &j.group.waiting[j.priority]
	if j.prev != nil {
		j.prev.next = j.next
	} else {
		l.head = j.next
	}
	if j.next != nil {
		j.next.prev = j.prev
	} else {
		l.tail = j.prev
	}
	j.prev, j.next = nil, nil
	q.waiting[j.priority]--
	if j.priority == background {
		heap.Remove(&q.least, j.place)
	}
}

// dispatch gives out free slots: to demand first, and to the background no more
// than half, so that a burst of refills never has them all when somebody comes.
func (q *queue) dispatch() {
	for !q.closed && q.busy[demand]+q.busy[background] < q.slots {
		p := demand
		jobs := q.take(p)
		if jobs == nil && q.busy[background] < max(1, q.slots/2) {
			p = background
			jobs = q.take(p)
		}
		if jobs == nil {
			return
		}
		q.busy[p]++
		jobs[0].group.running[p]++
		q.launch(jobs, p)
	}
}

// take takes the jobs that share one slot, of the group whose turn it is and
// that is not held; nil when there is none.
func (q *queue) take(p priority) []*job {
	for range q.turns[p] {
		g := q.turns[p][0]
		q.turns[p][0] = nil
		q.turns[p] = q.turns[p][1:]
		l := &g.waiting[p]
		if l.head == nil {
			l.turn = false // its jobs were removed meanwhile
			continue
		}
		if q.held(g, p) {
			q.turns[p] = append(q.turns[p], g)
			continue
		}
		var jobs []*job
		for j := l.head; j != nil && len(jobs) < g.batch(); j = l.head {
			shares := j.fill != nil && !j.alone
			if !shares && len(jobs) > 0 {
				break
			}
			q.unlink(j)
			j.state = jobRunning
			jobs = append(jobs, j)
			if !shares {
				break
			}
		}
		if l.turn = l.head != nil; l.turn {
			q.turns[p] = append(q.turns[p], g)
		}
		return jobs
	}
	return nil
}

// jobHeap is ordered by worth, the least first.
type jobHeap []*job

func (h jobHeap) Len() int           { return len(h) }
func (h jobHeap) Less(i, j int) bool { return h[i].worth < h[j].worth }

func (h jobHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *jobHeap) Push(x any) {
	j := x.(*job) // by heap.Push in link
	j.place = len(*h)
	*h = append(*h, j)
}

// Pop implements heap.Interface.
func (h *jobHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}
