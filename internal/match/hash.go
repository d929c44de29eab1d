package match

// FNV-1a over the comparable form of values, finished by a mixing step. The
// hash is kept in no file and crosses no process, so it may change.
const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

func hashString[S ~string | ~[]byte](h uint64, s S) uint64 { return mix(fold(h, s)) }

func fold[S ~string | ~[]byte](h uint64, s S) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * hashPrime
	}
	return h
}

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h
}

func (d Datum) hash(h uint64) uint64 {
	if d.class.textual() {
		return hashString(h, d.s)
	}
	return mix((h ^ uint64(d.i)) * hashPrime)
}

// textual reports whether values of the class are compared by their string.
func (c Class) textual() bool {
	switch c {
	case ClassText, ClassBPChar, ClassUUID, ClassNumeric:
		return true
	}
	return false
}

// hashText hashes a value from the log as Datum.hash would hash it, without
// building strings.
func hashText(h uint64, class Class, text []byte) (uint64, bool) {
	switch class {
	case ClassUUID:
		id, ok := parseUUID(text)
		return hashString(h, id[:]), ok
	case ClassNumeric:
		return hashNumeric(h, text)
	}
	d, ok := viewDatum(class, text)
	if !ok {
		return h, false
	}
	return d.hash(h), true
}

func hashNumeric(h uint64, text []byte) (uint64, bool) {
	if specialNumeric(text) != 0 {
		return hashString(h, text), true
	}
	d, ok := parseDecimal(text)
	if !ok {
		return h, false
	}
	if d.negative {
		h = fold(h, "-")
	}
	h = fold(h, d.whole)
	if len(d.frac) > 0 {
		h = fold(fold(h, "."), d.frac)
	}
	return mix(h), true
}
