package oracle

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// trespass asks for what nobody may have: without a credential, with a bad one, as
// a subscriber of an account where rows belong to nobody, and with the handle of
// another account.
func (lr *liveRun) trespass() {
	for i, sh := range lr.shapes {
		if sh.refused() != "" {
			continue
		}
		for _, secret := range []string{"", "wrong", liveSecret + "x", strings.TrimSuffix(sh.secret(), "x")[:len(sh.secret())-2]} {
			lr.mustRefuse(sh, secret, "-1", "", http.StatusUnauthorized)
		}
		bound := &liveShape{account: "1"}
		if sh.rel != nil && sh.rule.account == nil || sh.req != nil && sh.req.ep.account == "" {
			lr.mustRefuse(sh, bound.secret(), "-1", "", http.StatusForbidden)
			continue
		}
		// Whoever has a handle and an offset of another goes on in a shape of its own.
		for _, f := range lr.followers {
			if f.sh != sh || f.handle == "" {
				continue
			}
			other := &liveShape{account: "no account"}
			offset := f.offset
			if i%2 == 0 {
				offset = "0_0"
			}
			// An account that the column cannot hold has no shape at all.
			lr.mustRefuse(sh, other.secret(), offset, f.handle, http.StatusConflict, http.StatusForbidden)
			break
		}
	}
}

// mustRefuse fails unless a request is refused with one of some statuses, and no row.
func (lr *liveRun) mustRefuse(sh *liveShape, secret, offset, handle string, status ...int) {
	q := url.Values{}
	for k, v := range sh.args {
		q[k] = v
	}
	q.Set("offset", offset)
	if handle != "" {
		q.Set("handle", handle)
	}
	if secret != "" {
		q.Set("secret", secret)
	}
	resp, err := http.Get(lr.subject.url + sh.path + "?" + q.Encode())
	if err != nil {
		lr.Errorf("a stranger is not answered: %v", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !slices.Contains(status, resp.StatusCode) || strings.Contains(string(body), `"value"`) {
		lr.Errorf("a stranger with secret %q, offset %s, handle %q gets %d, and not %v: %v %s\n%s", secret, offset, handle, resp.StatusCode, status, err, body, sh)
	}
}
