package nodetree

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	v, err := Parse(`({QUERY :commandType 1 :rtable ({RANGETBLENTRY :alias {ALIAS :aliasname :odd :colnames ("a\ b" "c\)" "d"e" "")} ` +
		`:relid 4294967295 :relkind r :inh true :tablesample <> :selectedCols (b 8 -9)}) :types (o 23 25) ` +
		`:quals {CONST :constlen -1 :constvalue 5 [ 20 0 -128 255 120 ]} :null {CONST :constvalue <>} :limitCount <>})`)
	if err != nil {
		t.Fatal(err)
	}
	q := v.Items[0].Node
	if q.Tag != "QUERY" || q.Int("commandType") != 1 || q.Get("limitCount").Kind != Nil || q.Get("nothing").Kind != Nil {
		t.Fatalf("query read as %+v", q)
	}
	rte := q.Nodes("rtable")[0]
	if rte.OID("relid") != 4294967295 || !rte.Bool("inh") || rte.Str("relkind") != "r" {
		t.Errorf("range table entry read as %+v", rte)
	}
	alias := rte.Child("alias")
	if got := alias.Str("aliasname"); got != ":odd" {
		t.Errorf("alias %q", got)
	}
	var names []string
	for _, it := range alias.List("colnames") {
		if it.Kind != String {
			t.Errorf("%q is not a string", it.Text)
		}
		names = append(names, it.Text)
	}
	if got := strings.Join(names, "|"); got != `a b|c)|d"e|` {
		t.Errorf("column names %q", got)
	}
	if got := rte.Get("selectedCols").Ints; len(got) != 2 || got[1] != -9 {
		t.Errorf("bitmap %v", got)
	}
	if got := q.Get("types").Ints; len(got) != 2 || got[0] != 23 {
		t.Errorf("oids %v", got)
	}
	if got := q.Child("quals").Get("constvalue").Bytes; string(got) != "\x14\x00\x80\xff\x78" {
		t.Errorf("datum %v", got)
	}
	if got := q.Child("null").Get("constvalue").Kind; got != Nil {
		t.Errorf("null constant has kind %d", got)
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{
		"", "(", "{", "{}", "{A", "{A b}", "{A :b", "{A :b }", ")", "(i x)", "(i 1", "{A :b 4 [ 300 ]}", "{A :b 4 [ 1", "{A} {B}",
		strings.Repeat("(", 1<<20),
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%.20q was accepted", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`({QUERY :a 1 :b ({C :d "x\ y" :e <>} (i 1 2)) :f 4 [ 1 -1 ]})`)
	f.Add(`{A :b :c :d (b) :e \<\> }`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		if err == nil {
			Each(v, func(n *Node) { _ = n.Int("a") })
		}
	})
}
