package follow

import (
	"sync"
	"time"
)

// work is the queue of answers that are to be read anew, and those who do it.
// There is a goroutine for each that is being read, and none for those that wait.
type work struct {
	most int

	mu      sync.Mutex
	closed  bool
	first   []*followed // somebody waits for them to begin
	queue   []*followed
	running int
	done    sync.WaitGroup
}

// The places of a followed answer in the queue; guarded by work.mu.
type place byte

const (
	placeNone place = iota
	placeQueued
	placeRunning
	placeAgain // running, and to be read once more
	placeLater // a timer queues it
)

// push queues an answer, unless it is already.
func (w *work) push(f *followed, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
	case f.place == placeRunning:
		f.place = placeAgain
	case f.place == placeNone:
		w.enqueue(f, first)
	}
}

// enqueue has an answer read when there is somebody to do it. w.mu is held.
func (w *work) enqueue(f *followed, first bool) {
	f.place = placeQueued
	if first {
		w.first = append(w.first, f)
	} else {
		w.queue = append(w.queue, f)
	}
	if w.running < w.most {
		w.running++
		w.done.Add(1)
		go w.run()
	}
}

// run works until the queue is empty.
func (w *work) run() {
	defer w.done.Done()
	for {
		w.mu.Lock()
		from := &w.first
		if len(*from) == 0 {
			from = &w.queue
		}
		if w.closed || len(*from) == 0 {
			w.running--
			w.mu.Unlock()
			return
		}
		f := (*from)[0]
		(*from)[0] = nil
		*from = (*from)[1:]
		f.place = placeRunning
		w.mu.Unlock()
		again, pause := f.refresh()
		w.mu.Lock()
		again = again || f.place == placeAgain
		f.place = placeNone
		switch {
		case w.closed || !again:
		case pause >= time.Millisecond:
			f.place = placeLater
			time.AfterFunc(pause, func() { w.later(f) })
		default:
			w.enqueue(f, false)
		}
		w.mu.Unlock()
	}
}

// later queues an answer whose pause is over.
func (w *work) later(f *followed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && f.place == placeLater {
		w.enqueue(f, false)
	}
}

// close lets what is running end, and begins nothing more.
func (w *work) close() {
	w.mu.Lock()
	w.closed = true
	w.first, w.queue = nil, nil
	w.mu.Unlock()
	w.done.Wait()
}
