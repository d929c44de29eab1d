package grpcapi

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// place is what a cursor holds: the snapshot that the call reads from, the call
// that it belongs to, and the last result.
type place struct {
	token string
	call  uint64
	after string
}

const (
	cursorVersion = 1
	cursorFixed   = 1 + 8 + 1 // version, call, the token's length
	base64Group   = 3         // bytes that have a text of their own in base64
)

// cursors writes the cursors of one call, which differ in the last result only.
type cursors struct{ head string }

func (p place) cursors() cursors {
	b := make([]byte, 0, 2*cursorFixed+len(p.token))
	b = append(b, cursorVersion)
	b = binary.BigEndian.AppendUint64(b, p.call)
	b = append(b, byte(len(p.token)))
	b = append(b, p.token...)
	for len(b)%base64Group != 0 {
		b = append(b, 0)
	}
	return cursors{base64.RawURLEncoding.EncodeToString(b)}
}

// size returns how long a cursor is.
func (c cursors) size(after string) int {
	return len(c.head) + base64.RawURLEncoding.EncodedLen(len(after))
}

func (c cursors) append(b []byte, after string) []byte {
	return base64.RawURLEncoding.AppendEncode(append(b, c.head...), []byte(after))
}

func (c cursors) at(after string) *v1.Cursor {
	return &v1.Cursor{Token: string(c.append(make([]byte, 0, c.size(after)), after))}
}

// parsePlace reads what cursors write.
func parsePlace(text string) (p place, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < cursorFixed || b[0] != cursorVersion {
		return p, false
	}
	p.call = binary.BigEndian.Uint64(b[1:])
	end := cursorFixed + int(b[cursorFixed-1])
	if len(b) < end {
		return p, false
	}
	p.token = string(b[cursorFixed:end])
	for ; end%base64Group != 0; end++ {
		if end == len(b) || b[end] != 0 {
			return p, false
		}
	}
	p.after = string(b[end:])
	return p, true
}

// callHash identifies a call by its method and what it asks. The limit is left
// out: a client may turn larger pages into smaller ones.
func callHash(method string, asked ...string) uint64 {
	h := fnv.New64a()
	var n [8]byte
	for _, s := range append([]string{method}, asked...) {
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return h.Sum64()
}

// resume returns the view that a call reads from, and after which result it goes
// on, if it has a cursor. A cursor's snapshot overrides the consistency.
func resume(ctx context.Context, c *v1.Consistency, cur *v1.Cursor, call uint64) (perm.View, place, error) {
	if cur.GetToken() == "" {
		v, err := view(ctx, c)
		return v, place{token: v.Token, call: call}, err
	}
	p, ok := parsePlace(cur.GetToken())
	if !ok {
		return perm.View{}, p, invalidCursor("it is not one that this server gave out")
	}
	if p.call != call {
		return perm.View{}, p, invalidCursor("it belongs to another call")
	}
	t, err := backend(ctx).Parse(p.token)
	if err != nil {
		return perm.View{}, p, invalidCursor("its snapshot does not parse")
	}
	v, err := backend(ctx).View(ctx, revision.Requirement{Level: revision.AtExactSnapshot, Token: t})
	v.Token = p.token
	return v, p, err
}
