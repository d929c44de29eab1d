package record

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

// fields has one of each, and what it is in a file.
func fields() (b []byte, want string) {
	b = binary.AppendUvarint(b, 300)
	b = binary.AppendVarint(b, -2)
	b = append(b, 7)
	b = binary.LittleEndian.AppendUint32(b, 0x01020304)
	b = binary.LittleEndian.AppendUint64(b, 0x0102030405060708)
	b = AppendText(b, "text")
	b = AppendText(b, []byte(nil))
	b = binary.AppendUvarint(b, 2)
	return append(b, "xy"...), "ac02" + "03" + "07" + "04030201" + "0807060504030201" + "0474657874" + "00" + "02" + "7879"
}

// read reads what fields has.
func read(r *Reader) bool {
	return r.Uvarint() == 300 && r.Varint() == -2 && r.Byte() == 7 && r.Uint32() == 0x01020304 && r.Uint64() == 0x0102030405060708 &&
		string(r.Text()) == "text" && len(r.Text()) == 0 && r.Count() == 2 && string(r.Bytes(2)) == "xy" && !r.Bad && len(r.Rest) == 0
}

func TestFields(t *testing.T) {
	b, want := fields()
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if r := (Reader{Rest: b}); !read(&r) {
		t.Errorf("not read: %+v", r)
	}
	for n := range b {
		if r := (Reader{Rest: b[:n]}); read(&r) || !r.Bad || r.Rest != nil {
			t.Errorf("cut off after %d bytes it is read: %+v", n, r)
		}
	}
}

// calls are the reads, each of which tells whether it was zero.
var calls = []func(r *Reader) bool{
	func(r *Reader) bool { return r.Uvarint() == 0 },
	func(r *Reader) bool { return r.Varint() == 0 },
	func(r *Reader) bool { return r.Count() == 0 },
	func(r *Reader) bool { return r.Bytes(3) == nil },
	func(r *Reader) bool { return r.Byte() == 0 },
	func(r *Reader) bool { return r.Uint32() == 0 },
	func(r *Reader) bool { return r.Uint64() == 0 },
	func(r *Reader) bool { return r.Text() == nil },
}

func TestHostile(t *testing.T) {
	huge := string(binary.AppendUvarint(nil, math.MaxUint64)) + "text"
	for name, tt := range map[string]struct {
		in   string
		read func(r *Reader) bool
	}{
		"a varint without end":      {"\x80\x80", calls[0]},
		"a varint of eleven bytes":  {strings.Repeat("\x80", 10) + "\x01", calls[0]},
		"more than 64 bits":         {strings.Repeat("\xff", 9) + "\x02", calls[0]},
		"with a sign":               {strings.Repeat("\xff", 9) + "\x02", calls[1]},
		"a count beyond the end":    {"\x05text", calls[2]},
		"a count beyond all":        {huge, calls[2]},
		"bytes beyond the end":      {"ab", calls[3]},
		"bytes beyond all":          {"ab", func(r *Reader) bool { return r.Bytes(math.MaxUint64) == nil }},
		"a text beyond the end":     {"\x05text", calls[7]},
		"a text beyond all":         {huge, calls[7]},
		"a text of which no length": {"\x80", calls[7]},
	} {
		b, r := []byte(tt.in), Reader{}
		if n := testing.AllocsPerRun(10, func() {
			r = Reader{Rest: b}
			tt.read(&r)
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		r = Reader{Rest: b}
		if !tt.read(&r) || !r.Bad || r.Rest != nil {
			t.Errorf("%s is read: %+v", name, r)
		}
		for i, read := range calls {
			if !read(&r) || !r.Bad {
				t.Errorf("%s: behind it, call %d reads something", name, i)
			}
		}
	}
	// What may be appended to does not reach into what follows.
	r := Reader{Rest: []byte("\x01ab")}
	_ = append(r.Text(), 'x')
	if string(r.Rest) != "b" {
		t.Errorf("the rest is %q", r.Rest)
	}
}

// FuzzReader reads anything as anything: fields are taken from the front, whole or
// not at all.
func FuzzReader(f *testing.F) {
	b, _ := fields()
	f.Add(b, []byte{0, 1, 4, 5, 6, 7, 7, 2, 3})
	f.Fuzz(func(t *testing.T, b, script []byte) {
		r := Reader{Rest: b}
		for _, c := range script {
			before := r
			zero := calls[int(c)%len(calls)](&r)
			switch {
			case r.Bad && (!zero || r.Rest != nil):
				t.Fatalf("%d of %x: there is something behind what is not there: %+v", c, before.Rest, r)
			case before.Bad && !r.Bad:
				t.Fatal("what was bad is good again")
			case !r.Bad && (len(r.Rest) >= len(before.Rest) || string(before.Rest[len(before.Rest)-len(r.Rest):]) != string(r.Rest)):
				t.Fatalf("%d of %x leaves %x", c, before.Rest, r.Rest)
			}
		}
	})
}
