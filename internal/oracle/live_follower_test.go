package oracle

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// follower follows one shape in its own manner, and keeps what it received.
type follower struct {
	*rand.Rand
	lr *liveRun
	sh *liveShape
	id int

	kind     followerKind
	lag      int // milliseconds, at most, between two requests
	unsteady int // percent of requests that it does not wait for the end of

	http   *http.Client
	handle string
	offset string
	cursor string
	held   bool          // it was up to date
	seen   atomic.Uint64 // the position that it was up to date at last

	got    []*exchange
	broken int    // requests that failed without a response
	busy   int    // that were refused for the moment
	stuck  string // why it did not get to the end
}

type followerKind int

const (
	longPoll followerKind = iota
	plainPoll
	streamByPosition // as the client of npm does
	streamByEvent    // as browsers do
	followerKinds
)

func (k followerKind) String() string {
	return []string{"long poll", "poll", "stream, resumed by position", "stream, resumed by event"}[k]
}

func newFollower(lr *liveRun, sh *liveShape, r *rand.Rand) *follower {
	f := &follower{
		Rand: r, lr: lr, sh: sh, id: len(lr.followers), kind: followerKind(r.IntN(int(followerKinds))), lag: pick(r, []int{1, 5, 50, 400}),
		unsteady: pick(r, []int{0, 5, 30}), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
	}
	if lr.lane.maxLog > 0 && sh.rel != nil && chance(r, 40) {
		f.lag = 2500 // longer than the log remembers
	}
	switch {
	case sh.idle && f.id%2 == 0:
		f.kind, f.lag, f.unsteady = plainPoll, 5, 0
	case sh.stormed:
		f.kind, f.unsteady = pick(r, []followerKind{longPoll, longPoll, streamByPosition, streamByEvent}), 0
	}
	f.reset()
	return f
}

func (f *follower) reset() {
	f.handle, f.offset, f.cursor, f.held = "", "-1", "", false
	if f.sh.changesOnly && chance(f.Rand, 50) || chance(f.Rand, 8) && !f.sh.stormed {
		f.offset = "now"
	}
}

func (f *follower) String() string {
	return fmt.Sprintf("follower %d, by %s, lag %d ms, unsteady %d%%, of %s", f.id, f.kind, f.lag, f.unsteady, f.sh)
}

// loop follows until ctx ends.
func (f *follower) loop(ctx context.Context) {
	defer f.http.CloseIdleConnections()
	if chance(f.Rand, 30) {
		pause(ctx, between(f.Rand, 0, 1500)) // it comes later than others
	}
	for ctx.Err() == nil && f.sh.refused() == "" {
		if chance(f.Rand, 1) && !f.sh.idle && !f.sh.stormed {
			f.reset()
		}
		if f.loads() && (f.held || f.handle == "") && chance(f.Rand, 60) {
			f.load(ctx, false, false)
		}
		f.once(ctx, false, "")
		pause(ctx, between(f.Rand, 0, f.lag+1))
	}
}

// loads reports whether it asks for rows beside the stream.
func (f *follower) loads() bool { return f.lr.lane.subsets && f.sh.changesOnly }

// finish polls until the follower has all that there is.
func (f *follower) finish(token string) {
	defer f.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if f.sh.refused() != "" {
			return
		}
		if n := len(f.got); f.loads() && (n == 0 || !f.got[n-1].final || f.got[n-1].status != http.StatusOK) {
			f.load(ctx, true, true)
			continue
		}
		if x := f.once(ctx, true, token); x != nil && x.status == http.StatusOK && x.saysUpToDate() {
			return
		}
	}
	f.stuck = "it does not get to the end"
	if n := len(f.got); n > 0 {
		f.stuck += ": " + f.got[n-1].String()
	}
}

// once makes one request and takes in what comes.
func (f *follower) once(ctx context.Context, final bool, need string) *exchange {
	live := !final && f.held && f.kind != plainPoll
	stream := live && f.kind >= streamByPosition
	q := url.Values{}
	for k, v := range f.sh.args {
		q[k] = v
	}
	q.Set("offset", f.offset)
	if f.handle != "" {
		q.Set("handle", f.handle)
	}
	if live {
		q.Set("live", "true")
		q.Set("cursor", f.cursor)
	}
	if stream {
		q.Set("live_sse", "true")
	}
	header := http.Header{}
	if f.sh.account != "" && chance(f.Rand, 50) {
		header.Set("Authorization", "Bearer "+f.sh.secret())
	} else {
		q.Set("secret", f.sh.secret())
	}
	if stream && f.kind == streamByEvent && f.handle != "" && chance(f.Rand, 60) {
		header.Set("Last-Event-ID", f.handle+"/"+f.offset)
	}
	if need == "" && chance(f.Rand, 10) {
		need = f.lr.tokens.pick(f.Rand)
	}
	if need != "" {
		header.Set(httpapi.HeaderConsistency, fmt.Sprintf("%s; token=%q", revision.AtLeastAsFresh, need))
	}
	limit := 12 * time.Second
	if !final && chance(f.Rand, f.unsteady) {
		limit = between(f.Rand, 0, 120)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.lr.subject.url+f.sh.path+"?"+q.Encode(), nil)
	if err != nil {
		panic(err)
	}
	r.Header = header
	x := &exchange{offset: f.offset, handle: f.handle, live: live, stream: stream, need: need, begun: time.Now(), final: final}
	resp, err := f.http.Do(r)
	if err != nil {
		f.broken++
		pause(ctx, 5*time.Millisecond)
		return nil
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	x.newHandle, x.end, x.token = resp.Header.Get("electric-handle"), resp.Header.Get("electric-offset"), resp.Header.Get(httpapi.HeaderToken)
	x.upToDate = resp.Header.Get("electric-up-to-date") != ""
	if stream && x.status == http.StatusOK {
		f.stream(resp.Body, x)
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.broken++
		return nil
	}
	x.ended = time.Now()
	f.take(ctx, x, body, resp.Header)
	return x
}

// take takes in a response that is none of a stream.
func (f *follower) take(ctx context.Context, x *exchange, body []byte, header http.Header) {
	switch x.status {
	case http.StatusOK:
		f.sh.served.Store(true)
		if err := json.Unmarshal(body, &x.messages); err != nil {
			x.body = fmt.Sprintf("%v in %.300s", err, body)
		}
		f.handle, f.offset = x.newHandle, x.end
		f.held = f.held || x.saysUpToDate()
		f.note(x)
		if c := header.Get("electric-cursor"); c != "" {
			f.cursor = c
		}
		if x.token != "" {
			f.lr.tokens.add(x.token)
		}
		f.lr.mu.Lock()
		f.lr.answers++
		f.lr.mu.Unlock()
	case http.StatusConflict:
		x.body = string(body)
		f.reset()
		if f.offset != "now" {
			f.handle = "" // an unknown handle is passed over at the start
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusForbidden, http.StatusUnauthorized:
		x.body = string(body)
		if !f.sh.served.Load() && (x.need == "" || !strings.Contains(x.body, "token")) {
			f.sh.refusal.CompareAndSwap(nil, &x.body)
		}
	default:
		x.body = string(body)
		f.busy++
		pause(ctx, between(f.Rand, 5, 60))
	}
	f.got = append(f.got, x)
}

// note notes where a follower is up to date.
func (f *follower) note(x *exchange) {
	if !x.saysUpToDate() {
		return
	}
	at, err := strconv.ParseUint(strings.TrimLeft(x.messages[len(x.messages)-1].Headers.Seen, "0"), 10, 64)
	if err == nil { // else the judge says so
		f.seen.Store(at)
	}
}

// stream reads events until the stream ends. What it is told since it last heard
// where it is, it forgets: it comes again.
func (f *follower) stream(body io.Reader, head *exchange) {
	lines := bufio.NewReaderSize(body, 64<<10)
	var x *exchange
	begin := func() {
		next := *head
		x = &next
		x.offset, x.handle, x.messages, x.token = f.offset, f.handle, nil, ""
		x.newHandle, x.end = f.handle, ""
		x.upToDate = false
		if x.begun = x.ended; x.begun.IsZero() {
			x.begun = head.begun
		}
	}
	done := func(end string) {
		x.end, x.ended, head.ended = end, time.Now(), time.Now()
		x.upToDate = x.saysUpToDate()
		f.offset = end
		f.note(x)
		f.got = append(f.got, x)
		f.lr.mu.Lock()
		f.lr.answers++
		f.lr.mu.Unlock()
		begin()
	}
	begin()
	id := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "id:"):
			id = strings.TrimPrefix(strings.TrimPrefix(line, "id:"), " ")
		case strings.HasPrefix(line, "data:"):
			var m liveMessage
			text := strings.TrimPrefix(strings.TrimPrefix(line, "data:"), " ")
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				x.body = fmt.Sprintf("%v in %.300s", err, text)
			}
			if m.Headers.Control == "must-refetch" {
				x.status, x.end, x.ended = http.StatusConflict, "", time.Now()
				f.got = append(f.got, x)
				f.reset()
				return
			}
			x.messages = append(x.messages, m)
			if m.Headers.Token != "" {
				x.token = m.Headers.Token
			}
		case line == "":
			if len(x.messages) == 0 {
				continue
			}
			switch {
			case f.kind == streamByPosition && x.saysUpToDate():
				done(x.messages[len(x.messages)-1].Headers.Seen + "_0")
			case f.kind == streamByEvent && id != "":
				i := strings.LastIndexByte(id, '/')
				x.newHandle = id[:max(i, 0)]
				done(id[i+1:])
			}
			id = ""
		case strings.HasPrefix(line, ":"), strings.HasPrefix(line, "retry:"), strings.HasPrefix(line, "event:"):
		default:
			x.body = "a line that is none of an event stream: " + line
		}
	}
}
