package revision

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// TokenKind says what a token names.
type TokenKind byte

// The kinds of token. Their numbers are part of the encoding.
const (
	// KindPosition names a revision exactly.
	KindPosition TokenKind = 0
	// KindBound names a position that is not earlier than what was served. It
	// can be asked for with at_least_as_fresh, not with at_exact_snapshot.
	KindBound TokenKind = 1
	// KindTransaction names one transaction, by its id; it is satisfied once
	// that transaction is over and applied.
	KindTransaction TokenKind = 2
)

// Token is a revision in the form that clients carry. The encoding is written
// down in docs/tokens.md; the database function tidemark.token() writes it too.
type Token struct {
	Kind   TokenKind
	Source Source
	LSN    LSN // for KindTransaction a lower bound of where it commits
	XID    XID // for KindTransaction only
}

// ErrTokenMalformed is what ParseToken's errors wrap.
var ErrTokenMalformed = errors.New("malformed token")

const (
	tokenPrefix   = "tm1"
	tokenBody     = 1 + 8 + 4 + 8
	tokenXID      = 8
	tokenChecksum = 4
)

// String encodes the token: URL-safe, at most 47 characters.
func (t Token) String() string {
	var buf [tokenBody + tokenXID + tokenChecksum]byte
	b := buf[:0]
	b = append(b, byte(t.Kind))
	b = binary.BigEndian.AppendUint64(b, t.Source.SystemID)
	b = binary.BigEndian.AppendUint32(b, t.Source.Timeline)
	b = binary.BigEndian.AppendUint64(b, uint64(t.LSN))
	if t.Kind == KindTransaction {
		b = binary.BigEndian.AppendUint64(b, uint64(t.XID))
	}
	sum := sha256.Sum256(b)
	b = append(b, sum[:tokenChecksum]...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads what String writes.
func ParseToken(s string) (Token, error) {
	if len(s) > 99 {
		return Token{}, fmt.Errorf("%w: %d characters are too many", ErrTokenMalformed, len(s))
	}
	if len(s) < len(tokenPrefix) || s[:len(tokenPrefix)] != tokenPrefix {
		return Token{}, fmt.Errorf("%w: it does not begin with %s", ErrTokenMalformed, tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s[len(tokenPrefix):])
	if err != nil {
		return Token{}, fmt.Errorf("%w: it is not base64url", ErrTokenMalformed)
	}
	want := tokenBody + tokenChecksum
	if len(b) > 0 && TokenKind(b[0]) == KindTransaction {
		want += tokenXID
	}
	if len(b) != want || b[0] > byte(KindTransaction) {
		return Token{}, fmt.Errorf("%w: it is cut short or of an unknown kind", ErrTokenMalformed)
	}
	n := len(b) - tokenChecksum
	if sum := sha256.Sum256(b[:n]); string(sum[:tokenChecksum]) != string(b[n:]) {
		return Token{}, fmt.Errorf("%w: its checksum is wrong", ErrTokenMalformed)
	}
	t := Token{
		Kind: TokenKind(b[0]),
		Source: Source{
			SystemID: binary.BigEndian.Uint64(b[1:]),
			Timeline: binary.BigEndian.Uint32(b[9:]),
		},
		LSN: LSN(binary.BigEndian.Uint64(b[13:])),
	}
	if t.Kind == KindTransaction {
		t.XID = XID(binary.BigEndian.Uint64(b[tokenBody:]))
	}
	return t, nil
}

// Order is the outcome of comparing two tokens.
type Order int

// The outcomes. Unordered tokens name transactions of which neither token says
// which committed first.
const (
	Before Order = iota - 1
	Same
	After
	Unordered
)

func (o Order) String() string {
	switch o {
	case Before:
		return "before"
	case Same:
		return "same"
	case After:
		return "after"
	}
	return "unordered"
}

// ErrForeignToken means that a token belongs to another database or timeline.
var ErrForeignToken = errors.New("token of another database or timeline")

// Compare orders two tokens of one source.
func Compare(a, b Token) (Order, error) {
	if a.Source != b.Source {
		return Unordered, fmt.Errorf("%w: system %d timeline %d against system %d timeline %d", ErrForeignToken,
			a.Source.SystemID, a.Source.Timeline, b.Source.SystemID, b.Source.Timeline)
	}
	ta, tb := a.Kind == KindTransaction, b.Kind == KindTransaction
	switch {
	case ta && tb && a.XID == b.XID:
		return Same, nil
	case ta && tb:
		return Unordered, nil
	case ta && b.LSN <= a.LSN:
		// A transaction commits after the position in its token.
		return After, nil
	case tb && a.LSN <= b.LSN:
		return Before, nil
	case ta || tb:
		return Unordered, nil
	case a.LSN < b.LSN:
		return Before, nil
	case a.LSN > b.LSN:
		return After, nil
	}
	return Same, nil
}
