package liveapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// subscriber is who made a request.
type subscriber struct {
	account *string   // the one that the subscriber is bound to
	expires time.Time // zero: never
	// private says that the response is for nobody but the subscriber, although
	// the address may not tell.
	private bool
}

// keyring knows what opens shapes.
type keyring struct {
	secrets [][sha256.Size]byte
	key     []byte
	parser  *jwt.Parser
}

func newKeyring(secrets []string, accountKey string) keyring {
	k := keyring{key: []byte(accountKey)}
	for _, s := range secrets {
		k.secrets = append(k.secrets, sha256.Sum256([]byte(s)))
	}
	k.parser = jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithJSONNumber())
	return k
}

// subscriber returns who made a request, by the credential in its address or its
// Authorization field. One in the address comes first: a proxy puts it there, and
// may pass on a field that is meant for itself.
func (k *keyring) subscriber(h http.Header, values url.Values, own func(name string) bool) (subscriber, error) {
	if len(k.secrets) == 0 && len(k.key) == 0 {
		return subscriber{}, nil
	}
	given, private := "", false
	for _, name := range []string{paramSecret, paramOldSecret} {
		v := values[name]
		if len(v) == 0 || own(name) {
			continue
		}
		if len(v) > 1 || given != "" && given != v[0] {
			return subscriber{}, errUnauthorised
		}
		given = v[0]
	}
	if given == "" {
		given, private = bearer(h["Authorization"]), true
	}
	if given == "" {
		return subscriber{}, errUnauthorised
	}
	if k.opens(given) {
		return subscriber{private: private}, nil
	}
	return k.bound(given)
}

// Trusts reports whether the Authorization field of a request holds a secret, which
// opens everything.
func (h *Handler) Trusts(fields http.Header) bool {
	given := bearer(fields["Authorization"])
	return given != "" && h.gate.opens(given)
}

// bearer returns the credential of an Authorization field.
func bearer(lines []string) string {
	if len(lines) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(rest)
}

// opens reports whether a text is one of the secrets. How long it takes says
// nothing of them.
func (k *keyring) opens(given string) bool {
	sum := sha256.Sum256([]byte(given))
	found := 0
	for i := range k.secrets {
		found |= subtle.ConstantTimeCompare(sum[:], k.secrets[i][:])
	}
	return found == 1
}

// bound returns the subscriber whom a token binds to an account.
func (k *keyring) bound(token string) (subscriber, error) {
	if len(k.key) == 0 {
		return subscriber{}, errUnauthorised
	}
	claims := jwt.MapClaims{}
	// The errors of the parser may show parts of the token.
	_, err := k.parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return k.key, nil })
	if errors.Is(err, jwt.ErrTokenExpired) {
		return subscriber{}, errExpired
	}
	if err != nil {
		return subscriber{}, errUnauthorised
	}
	s := subscriber{private: true}
	var account string
	switch c := claims["account"].(type) {
	case string:
		account = c
	case json.Number:
		if _, err := c.Int64(); err == nil {
			account = c.String()
		}
	}
	if account == "" {
		return subscriber{}, errUnauthorised
	}
	s.account = &account
	if exp, err := claims.GetExpirationTime(); err != nil {
		return subscriber{}, errUnauthorised
	} else if exp != nil {
		s.expires = exp.Time
	}
	return s, nil
}
