package query

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
)

// constant decodes a CONST: the bytes that Postgres holds in memory.
func (a *analysis) constant(n *node) *scalar {
	s := a.typed(&scalar{kind: scalarConst}, n.OID("consttype"))
	if n.Bool("constisnull") {
		s.item.null = true
		return s
	}
	if a.srv.foreignBytes {
		return nil
	}
	raw := n.Get("constvalue").Bytes
	if n.Int("constlen") == -1 {
		var ok bool
		if raw, ok = varlena(raw); !ok {
			return nil
		}
	}
	if s.elem != 0 {
		items, ok := a.constantArray(s.elem, raw)
		if !ok {
			return nil
		}
		s.kind, s.items = scalarConstArray, items
		return s
	}
	text, ok := a.datumText(s.typ, raw)
	if !ok {
		return nil
	}
	s.item.text = text
	return s
}

// varlena strips the length word: four bytes, or one where the lowest bit is
// set. Compressed and external values do not occur in a query.
func varlena(raw []byte) ([]byte, bool) {
	if len(raw) > 0 && raw[0]&1 == 1 {
		n := int(raw[0] >> 1)
		if n < 1 || n > len(raw) {
			return nil, false
		}
		return raw[1:n], true
	}
	if len(raw) < 4 || raw[0]&3 != 0 {
		return nil, false
	}
	n := int(binary.LittleEndian.Uint32(raw) >> 2)
	if n < 4 || n > len(raw) {
		return nil, false
	}
	return raw[4:n], true
}

// pgEpoch is 2000-01-01, from which dates and timestamps count.
const pgEpoch = 946684800

// datumText returns the text form of a value, without its length word.
func (a *analysis) datumText(typ uint32, raw []byte) (string, bool) {
	width := map[uint32]int{
		oidBool: 1, oidInt2: 2, oidInt4: 4, oidInt8: 8, oidOID: 4, oidFloat8: 8,
		oidDate: 4, oidTimestamp: 8, oidTimestamptz: 8, oidUUID: 16,
	}[typ]
	if len(raw) < width {
		return "", false
	}
	switch typ {
	case oidBool:
		if raw[0] != 0 {
			return "t", true
		}
		return "f", true
	case oidInt2:
		return strconv.Itoa(int(int16(binary.LittleEndian.Uint16(raw)))), true
	case oidInt4:
		return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(raw)))), true
	case oidInt8:
		return strconv.FormatInt(int64(binary.LittleEndian.Uint64(raw)), 10), true
	case oidOID:
		return strconv.FormatUint(uint64(binary.LittleEndian.Uint32(raw)), 10), true
	case oidFloat8:
		return formatFloat(math.Float64frombits(binary.LittleEndian.Uint64(raw)), 64), true
	case oidText, oidVarchar, oidBPChar:
		return string(raw), true
	case oidName:
		name, _, _ := strings.Cut(string(raw), "\x00")
		return name, true
	case oidUUID:
		h := hex.EncodeToString(raw[:16])
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], true
	case oidDate:
		return dateText(int32(binary.LittleEndian.Uint32(raw)))
	case oidTimestamp, oidTimestamptz:
		return timestampText(int64(binary.LittleEndian.Uint64(raw)))
	case oidNumeric:
		return numericText(raw)
	}
	if t := a.srv.base(typ); t.kind == "e" && len(raw) >= 4 {
		return a.srv.enumLabel(binary.LittleEndian.Uint32(raw))
	}
	return "", false
}

func dateText(days int32) (string, bool) {
	switch days {
	case math.MaxInt32:
		return "infinity", true
	case math.MinInt32:
		return "-infinity", true
	}
	t := time.Unix(pgEpoch+int64(days)*86400, 0).UTC()
	return t.Format(dateLayout), fourDigitYear(t)
}

func timestampText(micros int64) (string, bool) {
	switch micros {
	case math.MaxInt64:
		return "infinity", true
	case math.MinInt64:
		return "-infinity", true
	}
	// Outside this, UnixMicro is fine but the years have no four digits.
	if micros > math.MaxInt64/2 || micros < math.MinInt64/2 {
		return "", false
	}
	t := time.UnixMicro(micros + pgEpoch*1000000).UTC()
	return t.Format("2006-01-02 15:04:05.999999"), fourDigitYear(t)
}

func fourDigitYear(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

// numericText decodes numeric.c's on-disk form: a header with sign, scale and
// weight, short or long, then digits of base 10,000.
func numericText(raw []byte) (string, bool) {
	if len(raw) < 2 {
		return "", false
	}
	header := binary.LittleEndian.Uint16(raw)
	var negative bool
	var scale, weight int
	var digits []byte
	switch header & 0xC000 {
	case 0xC000:
		switch header & 0xF000 {
		case 0xC000:
			return "NaN", true
		case 0xD000:
			return "Infinity", true
		case 0xF000:
			return "-Infinity", true
		}
		return "", false
	case 0x8000:
		negative = header&0x2000 != 0
		scale = int(header&0x1F80) >> 7
		weight = int(header & 0x003F)
		if header&0x0040 != 0 {
			weight -= 64
		}
		digits = raw[2:]
	default:
		if len(raw) < 4 {
			return "", false
		}
		negative = header&0xC000 == 0x4000
		scale = int(header & 0x3FFF)
		weight = int(int16(binary.LittleEndian.Uint16(raw[2:])))
		digits = raw[4:]
	}
	if len(digits)%2 != 0 {
		return "", false
	}
	n := len(digits) / 2
	group := func(i int) string {
		if i < 0 || i >= n {
			return "0000"
		}
		s := strconv.Itoa(int(binary.LittleEndian.Uint16(digits[2*i:])))
		return strings.Repeat("0", max(0, 4-len(s))) + s
	}
	var whole, frac strings.Builder
	for i := 0; i <= weight; i++ {
		whole.WriteString(group(i))
	}
	for i := weight + 1; frac.Len() < scale; i++ {
		frac.WriteString(group(i))
	}
	out := strings.TrimLeft(whole.String(), "0")
	if out == "" {
		out = "0"
	}
	if scale > 0 {
		out += "." + frac.String()[:scale]
	}
	if negative {
		out = "-" + out
	}
	return out, true
}

// constantArray decodes array.h's form of a one-dimensional array.
func (a *analysis) constantArray(elem uint32, raw []byte) ([]item, bool) {
	u32 := func(off int) int { return int(int32(binary.LittleEndian.Uint32(raw[off:]))) }
	if len(raw) < 12 {
		return nil, false
	}
	dims, offset := u32(0), u32(4)
	if dims == 0 {
		return []item{}, true
	}
	if dims != 1 || len(raw) < 20 {
		return nil, false
	}
	n := u32(12)
	// Offsets and alignment count from the length word that was stripped.
	const header = 4
	data := 20
	var nulls []byte
	if offset != 0 {
		nulls = raw[20:]
		data = offset - header
	}
	if n < 0 || n > len(raw)*8 || data < 20 || data > len(raw) || nulls != nil && len(nulls)*8 < n {
		return nil, false
	}
	size, align := elementLayout(elem)
	if t := a.srv.base(elem); t.kind == "e" {
		size, align = 4, 4
	}
	if size == 0 {
		return nil, false
	}
	items := make([]item, 0, n)
	for i := range n {
		if nulls != nil && nulls[i/8]&(1<<(i%8)) == 0 {
			items = append(items, item{null: true})
			continue
		}
		for (data+header)%align != 0 {
			data++
		}
		if data > len(raw) {
			return nil, false
		}
		value, taken := raw[data:], size
		if size < 0 {
			body, ok := varlena(value)
			if !ok {
				return nil, false
			}
			taken = len(body) + header
			if value[0]&1 == 1 {
				taken = len(body) + 1
			}
			value = body
		} else if len(value) < size {
			return nil, false
		}
		text, ok := a.datumText(elem, value)
		if !ok {
			return nil, false
		}
		items = append(items, item{text: text})
		data += taken
	}
	return items, true
}

// elementLayout returns typlen and the alignment of a type that is decoded.
func elementLayout(elem uint32) (size, align int) {
	switch elem {
	case oidBool:
		return 1, 1
	case oidInt2:
		return 2, 2
	case oidInt4, oidOID, oidDate:
		return 4, 4
	case oidInt8, oidFloat8, oidTimestamp, oidTimestamptz:
		return 8, 8
	case oidUUID:
		return 16, 1
	case oidText, oidVarchar, oidBPChar, oidNumeric:
		return -1, 4
	}
	return 0, 0
}
