package query

import (
	"net/url"
	"strings"
)

// Router finds the endpoint of a path. It is immutable and safe for concurrent
// use.
type Router struct {
	root  routeNode
	count int
}

type routeNode struct {
	literals map[string]*routeNode
	param    *routeNode
	endpoint *Endpoint
}

// NewRouter builds a router. Of two endpoints with paths of one shape, which
// Conflicts reports, the first is found.
func NewRouter(endpoints []*Endpoint) *Router {
	r := &Router{count: len(endpoints)}
	for _, e := range endpoints {
		n := &r.root
		for _, s := range e.Route.Segments {
			n = n.child(s)
		}
		if n.endpoint == nil {
			n.endpoint = e
		}
	}
	return r
}

func (n *routeNode) child(s Segment) *routeNode {
	if s.Param != "" {
		if n.param == nil {
			n.param = &routeNode{}
		}
		return n.param
	}
	if n.literals == nil {
		n.literals = map[string]*routeNode{}
	}
	if n.literals[s.Literal] == nil {
		n.literals[s.Literal] = &routeNode{}
	}
	return n.literals[s.Literal]
}

// Match finds the endpoint of a path as it stands in the request line, still
// percent-encoded, and the values of its path parameters, decoded. A literal
// segment is preferred to a parameter, from left to right. Every endpoint is
// read with GET or HEAD, so a path that matches but comes with another method
// is a matter of the method.
func (r *Router) Match(rawPath string) (e *Endpoint, args map[string]string, ok bool) {
	if !strings.HasPrefix(rawPath, "/") {
		return nil, nil, false
	}
	var segments []string
	if rawPath != "/" {
		segments = strings.Split(rawPath[1:], "/")
		for i, s := range segments {
			decoded, err := url.PathUnescape(s)
			if err != nil || decoded == "" {
				return nil, nil, false
			}
			segments[i] = decoded
		}
	}
	if e = r.root.find(segments); e == nil {
		return nil, nil, false
	}
	args = make(map[string]string, len(segments))
	for i, s := range e.Route.Segments {
		if s.Param != "" {
			args[s.Param] = segments[i]
		}
	}
	return e, args, true
}

// Exists reports whether some endpoint has the path.
func (r *Router) Exists(rawPath string) bool {
	_, _, ok := r.Match(rawPath)
	return ok
}

func (n *routeNode) find(segments []string) *Endpoint {
	if len(segments) == 0 {
		return n.endpoint
	}
	if next := n.literals[segments[0]]; next != nil {
		if e := next.find(segments[1:]); e != nil {
			return e
		}
	}
	if n.param != nil {
		return n.param.find(segments[1:])
	}
	return nil
}
