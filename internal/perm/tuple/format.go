package tuple

import (
	"fmt"
	"strings"
	"time"
)

// Expiration returns a time as Relationship.Expires has it: microseconds, what
// is finer cut off. It is never 0, which would say that the relationship does
// not end: 1970 began a microsecond earlier.
func Expiration(at time.Time) int64 {
	if us := at.UnixMicro(); us != 0 {
		return us
	}
	return -1
}

// CheckExpiration says why a time cannot be an expiration: neither the text form
// nor the API can write it.
func CheckExpiration(at time.Time) error {
	if year := at.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("an expiration is between the years 1 and 9999, not in %d", year)
	}
	return nil
}

// Expiration returns when the relationship ends, in UTC; ok is false when it
// does not.
func (r Relationship) Expiration() (at time.Time, ok bool) {
	if r.Expires == 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(r.Expires).UTC(), true
}

// String returns type:id.
func (o Object) String() string { return o.Type + ":" + o.ID }

// String returns type:id, or type:id#relation.
func (s Subject) String() string {
	if s.Relation == "" {
		return s.Object.String()
	}
	return s.Object.String() + "#" + s.Relation
}

// String returns the text that Parse reads.
func (r Relationship) String() string {
	var b strings.Builder
	for _, s := range [...]string{r.Resource.Type, ":", r.Resource.ID, "#", r.Relation, "@", r.Subject.Type, ":", r.Subject.ID} {
		b.WriteString(s)
	}
	if r.Subject.Relation != "" {
		b.WriteString("#")
		b.WriteString(r.Subject.Relation)
	}
	if r.Caveat != "" {
		b.WriteString("[")
		b.WriteString(r.Caveat)
		if r.Context != "" {
			b.WriteString(":")
			b.WriteString(r.Context)
		}
		b.WriteString("]")
	}
	if at, ok := r.Expiration(); ok {
		b.WriteString("[expiration:")
		b.WriteString(at.Format(time.RFC3339Nano))
		b.WriteString("]")
	}
	return b.String()
}

// Check says why the parts of a relationship do not make one: the names, ids and
// lengths that Parse would refuse.
func (r Relationship) Check() error {
	if err := CheckType(r.Resource.Type); err != nil {
		return err
	}
	if r.Resource.ID == Wildcard {
		return fmt.Errorf("a resource cannot be a wildcard")
	}
	if err := CheckID(r.Resource.ID); err != nil {
		return err
	}
	if err := CheckRelation(r.Relation); err != nil {
		return err
	}
	if err := r.Subject.Check(); err != nil {
		return err
	}
	if r.Caveat != "" {
		if err := CheckCaveat(r.Caveat); err != nil {
			return err
		}
	} else if r.Context != "" {
		return fmt.Errorf("a context belongs to a caveat, and there is none")
	}
	if at, ok := r.Expiration(); ok {
		return CheckExpiration(at)
	}
	return nil
}

// Check says why the parts of a subject do not make one.
func (s Subject) Check() error {
	if err := CheckType(s.Type); err != nil {
		return err
	}
	if err := CheckID(s.ID); err != nil || s.Relation == "" {
		return err
	}
	if s.ID == Wildcard {
		return fmt.Errorf("a wildcard subject has no relation")
	}
	return CheckRelation(s.Relation)
}
