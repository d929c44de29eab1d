package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

func split(body string, columns ...string) (rows [][]string, err error) {
	err = SplitAnswer([]byte(body), columns, func(row [][]byte) error {
		var r []string
		for _, v := range row {
			r = append(r, string(v))
		}
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func TestSplitAnswer(t *testing.T) {
	for _, c := range []struct {
		body    string
		columns []string
		want    [][]string
	}{
		{`[]`, []string{"a"}, nil},
		{` [ ] `, nil, nil},
		{`[{"a":1},{"a":null}]`, []string{"a"}, [][]string{{"1"}, {"null"}}},
		{`{"a":1,"b":"x"}`, []string{"a", "b"}, [][]string{{"1", `"x"`}}},
		{`[{"a":1,"a":2}]`, []string{"a", "a"}, [][]string{{"1", "2"}}},
		{`[{},{ }]`, nil, [][]string{nil, nil}},
		{"[{\"a\": {\"x\":[1,{}, []] ,\"y\":\"}\"}\n,\"b\":-0.5e+3}]", []string{"a", "b"}, [][]string{{" {\"x\":[1,{}, []] ,\"y\":\"}\"}\n", "-0.5e+3"}}},
		{`[{"a\"\\\n\u0001":true,"é":false,"` + "\u2028" + `":"\u00e9\ud83d\ude00"}]`, []string{"a\"\\\n\x01", "é", "\u2028"}, [][]string{{"true", "false", `"\u00e9\ud83d\ude00"`}}},
		{`{"":""}`, []string{""}, [][]string{{`""`}}},
		{`{"a":` + strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5) + `}`, []string{"a"}, [][]string{{strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5)}}},
	} {
		got, err := split(c.body, c.columns...)
		if err != nil || !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%.200s: %.200q (%v)", c.body, got, err)
		}
	}
	for _, c := range []struct {
		body    string
		columns []string
	}{
		{``, nil},
		{`[`, nil},
		{`[{}`, nil},
		{`[{},]`, nil},
		{`[{} {}]`, nil},
		{`{}{}`, nil},
		{`[] x`, nil},
		{`null`, nil},
		{`"a"`, nil},
		{`[1]`, nil},
		{`[[]]`, nil},
		{`{"a":1}`, nil},
		{`{}`, []string{"a"}},
		{`{"a":1}`, []string{"b"}},
		{`{"a":1,"b":2}`, []string{"b", "a"}},
		{`{"a":1}`, []string{"a", "b"}},
		{`{"a":1,"b":2}`, []string{"a"}},
		{`{"a":1,}`, []string{"a"}},
		{`{"a":1,`, []string{"a"}},
		{`{"a":1]`, []string{"a"}},
		{`{"a"}`, []string{"a"}},
		{`{"a":}`, []string{"a"}},
		{`{a:1}`, []string{"a"}},
		{`{"a":01}`, []string{"a"}},
		{`{"a":1.}`, []string{"a"}},
		{`{"a":+1}`, []string{"a"}},
		{`{"a":.5}`, []string{"a"}},
		{`{"a":1e}`, []string{"a"}},
		{`{"a":NaN}`, []string{"a"}},
		{`{"a":nul}`, []string{"a"}},
		{`{"a":truex}`, []string{"a"}},
		{"{\"a\":\"\n\"}", []string{"a"}},
		{`{"a":"\x"}`, []string{"a"}},
		{`{"a":"`, []string{"a"}},
		{`{"a":[1,]}`, []string{"a"}},
		{`{"a":[1 2]}`, []string{"a"}},
		{`{"a":{"b"}}`, []string{"a"}},
		{`{"a":{"b":1,}}`, []string{"a"}},
		{`{"a":[}`, []string{"a"}},
		{`{"a":[1}`, []string{"a"}},
		{`{"a":{"b":1]}`, []string{"a"}},
		{`{"a":{1:2}}`, []string{"a"}},
		{"\xef\xbb\xbf[]", nil},
	} {
		if got, err := split(c.body, c.columns...); err == nil {
			t.Errorf("%s: %q", c.body, got)
		}
	}
	stop := errors.New("stop")
	n := 0
	if err := SplitAnswer([]byte(`[{},{}]`), nil, func([][]byte) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("%d rows, then %v", n, err)
	}
}

// What is read is what encoding/json reads, and what is refused is no array of
// rows with these members.
func FuzzSplitAnswer(f *testing.F) {
	for _, s := range []string{`[]`, `[{"a":1,"b":"x"}]`, `{"a":[1,{"c":null}],"b": {} }`, `[{"a":"\ud83d\ude00","b":-1.5e-7},{"\u0061":true,"b":[[],[]]}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got [][]json.RawMessage
		err := SplitAnswer(body, []string{"a", "b"}, func(row [][]byte) error {
			got = append(got, []json.RawMessage{bytes.Trim(row[0], " \t\r\n"), bytes.Trim(row[1], " \t\r\n")})
			return nil
		})
		want, reads := naive(body)
		if reads != (err == nil) {
			t.Fatalf("%q: %v, but encoding/json reads it: %v", body, err, reads)
		}
		if reads && !slices.EqualFunc(got, want, func(a, b []json.RawMessage) bool {
			return slices.EqualFunc(a, b, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
		}) {
			t.Fatalf("%q: %s, not %s", body, got, want)
		}
	})
}

// naive reads an answer of the columns a and b with encoding/json.
func naive(body []byte) (rows [][]json.RawMessage, ok bool) {
	var parts []json.RawMessage
	if !json.Valid(body) {
		return nil, false
	}
	if body = bytes.TrimSpace(body); body[0] != '[' {
		parts = []json.RawMessage{body}
	} else if err := json.Unmarshal(body, &parts); err != nil {
		return nil, false
	}
	for _, p := range parts {
		d := json.NewDecoder(bytes.NewReader(p))
		if t, err := d.Token(); err != nil || t != json.Delim('{') {
			return nil, false
		}
		var row []json.RawMessage
		for _, name := range []string{"a", "b"} {
			t, err := d.Token()
			var v json.RawMessage
			if err != nil || fmt.Sprintf("%T %v", t, t) != "string "+name || d.Decode(&v) != nil {
				return nil, false
			}
			row = append(row, v)
		}
		if t, err := d.Token(); err != nil || t != json.Delim('}') {
			return nil, false
		}
		rows = append(rows, row)
	}
	return rows, true
}

// No value is read that is not one, whatever the type.
func FuzzAppendAnswer(f *testing.F) {
	for _, s := range []string{`"x"`, `[1,null,"NULL"]`, `[[true],[false]]`, `"2020-01-31T10:11:12+00:00 BC"`, `["1 day"]`, `{}`, ` 1 `, `[[[[[[[1]]]]]]]`, `[ 1 , 2 ]`} {
		f.Add([]byte(s))
	}
	var types []*Type
	for _, oid := range []uint32{16, 25, 114, 1114, 1184, 1186, 30} {
		types = append(types, &Type{OID: catalog.OID(oid), Kind: 'b', delim: ',', interval: oid == 1186})
	}
	for _, t := range types {
		types = append(types, &Type{Elem: t, Kind: 'b', delim: ',', interval: t.interval})
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for i, typ := range types {
			got, _, err := typ.AppendAnswer([]byte("x"), raw)
			if len(got) == 0 || got[0] != 'x' || err != nil && len(got) != 1 {
				t.Fatalf("type %d: %q became %q (%v)", i, raw, got, err)
			}
			if err == nil && typ.OID != jsonOID && !json.Valid(raw) && !bytes.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r == '"' }) {
				t.Fatalf("type %d: %q is not JSON, and became %q", i, raw, got)
			}
		}
	})
}
