package liveapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/tidemarkdb/tidemark/internal/live"
)

// subset reads the subset that the query string asks for, if it does.
func (p *params) subset() (*live.Subset, error) {
	names := []string{"where", "params", "order_by", "limit", "offset"}
	asked := false
	for _, n := range names {
		asked = asked || p.values.Has(subsetPrefix+n)
	}
	if !asked {
		return nil, nil
	}
	s := &live.Subset{Where: p.text(subsetPrefix + "where"), OrderBy: p.text(subsetPrefix + "order_by")}
	var err error
	if s.Params, err = readParams(p.text(subsetPrefix + "params")); err != nil {
		p.fail(&live.RequestError{Field: subsetPrefix + "params", Message: err.Error()})
	}
	s.Limit = p.number(subsetPrefix + "limit")
	s.Offset = p.number(subsetPrefix + "offset")
	if p.err != nil {
		return nil, p.err
	}
	return s, checkSubset(s, subsetPrefix)
}

func (p *params) number(name string) *int64 {
	text := p.text(name)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.fail(bad(name, "%.40q is not a whole number", text))
	}
	return &n
}

// bodySubset reads the subset that a body asks for.
func bodySubset(r *http.Request) (*live.Subset, error) {
	if r.Header.Get("Content-Encoding") != "" {
		return nil, bad("", "the body may not be compressed")
	}
	text, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, errBody
	}
	if err != nil {
		return nil, bad("", "the body could not be read")
	}
	var in struct {
		Where   string          `json:"where"`
		Params  json.RawMessage `json:"params"`
		OrderBy string          `json:"order_by"`
		Limit   *int64          `json:"limit"`
		Offset  *int64          `json:"offset"`
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &in); err != nil {
			return nil, bad("", `the body is not an object with where, params, order_by, limit and offset`)
		}
	}
	s := &live.Subset{Where: in.Where, OrderBy: in.OrderBy, Limit: in.Limit, Offset: in.Offset}
	if s.Params, err = readParams(string(in.Params)); err != nil {
		return nil, &live.RequestError{Field: "params", Message: err.Error()}
	}
	return s, checkSubset(s, "")
}

func checkSubset(s *live.Subset, prefix string) error {
	switch {
	case s.Limit != nil && *s.Limit < 1:
		return bad(prefix+"limit", "is less than 1")
	case s.Offset != nil && *s.Offset < 0:
		return bad(prefix+"offset", "is less than 0")
	case (s.Limit != nil || s.Offset != nil) && s.OrderBy == "":
		return bad(prefix+"order_by", "is needed with limit and offset")
	}
	return nil
}
