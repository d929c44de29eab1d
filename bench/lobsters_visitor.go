package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// visitor is one client. It opens page after page, and writes now and then.
type visitor struct {
	*rand.Rand
	*lobsters
	stories, users *rand.Zipf
	read           func(ctx context.Context, endpoint, param, value string) (missed bool, err error)
	missed         map[string][]time.Duration // by endpoint: reads that were not hits
	hits           map[string]int
	took           []time.Duration // of reads
	wrote          int
}

func (l *lobsters) visitor(n uint64) *visitor {
	r := rand.New(rand.NewPCG(2026, n))
	return &visitor{
		Rand: r, lobsters: l, missed: map[string][]time.Duration{}, hits: map[string]int{},
		stories: rand.NewZipf(r, boardSkew, 1, boardStories-1), users: rand.NewZipf(r, boardSkew, 1, boardUsers-1),
	}
}

// story is hotter the later it was submitted.
func (v *visitor) story() int { return max(1, int(v.newest.Load())-int(v.stories.Uint64())) }
func (v *visitor) user() int  { return 1 + int(v.users.Uint64())*1009%boardUsers }

// step makes one write or opens one page. Of a hundred requests five are writes;
// a page is 1.6 reads on average.
func (v *visitor) step(ctx context.Context) error {
	reads := 0.0
	for _, p := range boardPages {
		reads += float64(p.share*len(p.endpoints)) / 100
	}
	if v.Float64() < boardWrites*reads/(100-boardWrites+boardWrites*reads) {
		v.wrote++
		return v.write(ctx)
	}
	return v.page(ctx)
}

// page opens one page.
func (v *visitor) page(ctx context.Context) error {
	n := v.IntN(100)
	for _, p := range boardPages {
		if n -= p.share; n >= 0 {
			continue
		}
		param, value := "id", ""
		switch p.endpoints[0] {
		case "story":
			value = strconv.Itoa(v.story())
		case "user":
			param, value = "name", "user"+strconv.Itoa(v.user())
		}
		for _, endpoint := range p.endpoints {
			begin := time.Now()
			missed, err := v.read(ctx, endpoint, param, value)
			if err != nil {
				return err
			}
			took := time.Since(begin)
			v.took = append(v.took, took)
			if missed {
				v.missed[endpoint] = append(v.missed[endpoint], took)
			} else {
				v.hits[endpoint]++
			}
		}
		return nil
	}
	return errors.New("the shares of the pages are not 100 percent")
}

// write is a vote, a comment, a story, or an edit of one's own page: 60, 30, 6
// and 4 of a hundred.
func (v *visitor) write(ctx context.Context) error {
	b := &pgx.Batch{} // one transaction
	story, user := v.story(), v.user()
	switch n := v.IntN(100); {
	case n < 60:
		b.Queue("INSERT INTO votes VALUES ($1, $2) ON CONFLICT DO NOTHING", 1+v.IntN(boardUsers), story)
		b.Queue(`UPDATE stories SET score = score + 1, hotness = log(score + 1) + extract(epoch FROM created_at) / 79200 WHERE id = $1`, story)
		b.Queue("UPDATE users SET karma = karma + 1 WHERE id = (SELECT user_id FROM stories WHERE id = $1)", story)
	case n < 90:
		b.Queue("INSERT INTO comments VALUES ($1, $2, $3, NULL, $4, 1, now())", v.comment.Add(1), story, user, "I have something to say to that.")
		b.Queue("UPDATE stories SET comments = comments + 1 WHERE id = $1", story)
	case n < 96:
		v.submit.Lock()
		defer v.submit.Unlock()
		id := v.newest.Load() + 1
		b.Queue(`INSERT INTO stories VALUES ($1::int, $2, 'Story ' || $1::int || ', just submitted', 'https://example.com/' || $1::int, 1, 0,
			extract(epoch FROM now()) / 79200, now())`, id, user)
		if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		v.newest.Store(id)
		return nil
	default:
		b.Queue("UPDATE users SET about = $2 WHERE id = $1", user, fmt.Sprintf("about me, version %d", v.Uint32()))
	}
	return v.pool.SendBatch(ctx, b).Close()
}

// throughTidemark reads over HTTP, with one connection for each visitor.
func (l *lobsters) throughTidemark(v *visitor) func() {
	conn := newHTTPConn(l.tide.addr)
	asked := map[string]*ask{}
	v.read = func(_ context.Context, endpoint, param, value string) (bool, error) {
		key := endpoint + " " + value
		a := asked[key]
		if a == nil {
			values := map[string]string{}
			if value != "" {
				values[param] = value
			}
			a = askFor(l.files[endpoint], values)
			asked[key] = a
		}
		r, err := conn.get(a.request)
		if err == nil && r.status != 200 {
			err = fmt.Errorf("%s: %w: %s%s", a.path, errResponse, r.head, r.body)
		}
		return !bytes.Contains(r.head, []byte("\r\nCache-Status: tidemark; hit")), err
	}
	return func() {
		conn.close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for endpoint, took := range v.missed {
			l.missed[endpoint] = append(l.missed[endpoint], took...)
		}
		for endpoint, n := range v.hits {
			l.hits[endpoint] += n
		}
		for key, a := range asked {
			l.asked[key] = a
		}
	}
}

// throughPostgres sends the same statements, which the pool has prepared on each
// of its connections, and reads the rows without making anything of them.
func (l *lobsters) throughPostgres(v *visitor) func() {
	v.read = func(ctx context.Context, endpoint, param, value string) (bool, error) {
		var args []any
		switch id, err := strconv.Atoi(value); {
		case value == "":
		case err == nil:
			args = append(args, id)
		default:
			args = append(args, value)
		}
		rows, err := l.pool.Query(ctx, l.files[endpoint].SQL, args...)
		if err != nil {
			return false, err
		}
		for rows.Next() {
			_ = rows.RawValues()
		}
		return false, rows.Err()
	}
	return func() {}
}
