package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
)

var headEnd = []byte("\r\n\r\n")

// request is what the front needs to know of a request.
type request struct {
	target      []byte
	gzip        bool // gzip may be accepted
	fully       bool // fully_consistent is asked for, to the letter
	conditional bool // only the handler knows how to answer
}

// parseHead reads the head of a request, up to and with its empty line. plain is
// false for everything that the front does not serve: another method or version,
// a body, a header that changes how the connection goes on, and whatever is not
// to the letter of RFC 9112, such as a bare line feed, a folded line, a space
// before a colon, or a Host that is missing or repeated.
func parseHead(head []byte) (req request, plain bool) {
	line, rest, ok := bytes.Cut(head, crlf)
	if !ok || len(line) < len("GET / HTTP/1.1") || string(line[:4]) != "GET " ||
		string(line[len(line)-9:]) != " HTTP/1.1" {
		return req, false
	}
	req.target = line[4 : len(line)-9]
	if req.target[0] != '/' || len(req.target) > maxURI {
		return req, false
	}
	for _, c := range req.target {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return req, false
		}
	}
	hosts := 0
	for {
		line, rest, ok = bytes.Cut(rest, crlf)
		if !ok {
			return req, false
		}
		if len(line) == 0 {
			return req, hosts == 1 && len(rest) == 0
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) {
			return req, false
		}
		value := line[colon+1:]
		for _, c := range value {
			if c < ' ' && c != '\t' || c == 0x7f {
				return req, false
			}
		}
		if !req.header(line[:colon], value, &hosts) {
			return req, false
		}
	}
}

var crlf = []byte("\r\n")

// header takes one header into account. It returns false for one that makes the
// request none of the front's.
func (r *request) header(name, value []byte, hosts *int) bool {
	is := func(s string) bool { return bytes.EqualFold(name, []byte(s)) }
	switch len(name) {
	case 2:
		return !is("TE")
	case 4:
		if is("Host") {
			*hosts++
			return len(bytes.TrimSpace(value)) > 0 && *hosts == 1
		}
	case 6:
		if is("Accept") && bytes.Contains(bytes.ToLower(value), []byte("event-stream")) {
			r.conditional = true // perhaps an answer is to be followed
		}
		return !is("Expect")
	case 7:
		return !is("Upgrade") && !is("Trailer")
	case 10:
		if is("Connection") {
			return bytes.EqualFold(bytes.TrimSpace(value), []byte("keep-alive"))
		}
	case 13:
		if is("If-None-Match") {
			r.conditional = true
		}
	case 14:
		return !is("Content-Length") && !is("HTTP2-Settings")
	case 15:
		if is("Accept-Encoding") {
			// Whether it really is accepted is for the handler to say.
			r.gzip = true
		}
	case 17:
		if is(HeaderSnapshot) {
			r.conditional = true
		}
		return !is("Transfer-Encoding")
	case len(HeaderConsistency):
		if is(HeaderConsistency) {
			// A second one makes a list, which is an error for the handler to tell.
			r.conditional = r.conditional || r.fully || string(bytes.TrimSpace(value)) != "fully_consistent"
			r.fully = true
		}
	}
	return true
}

// isToken reports whether a name has only the characters that RFC 9110 allows.
func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChar[c] {
			return false
		}
	}
	return true
}

var tokenChar = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

func statusLine(status int) string {
	return "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n"
}
