package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// condition returns one test of a relation's rows, of all the forms that
// applications write.
func (b *builder) condition(rel *relation, alias string) string {
	for {
		if s := b.tryCondition(rel, alias); s != "" {
			return s
		}
	}
}

func (b *builder) tryCondition(rel *relation, alias string) string {
	c := pick(b.Rand, rel.cols)
	k, ref := c.kind, alias+"."+c.name
	switch {
	case k.array():
		return b.arrayCondition(k, ref)
	case k.sql == "jsonb":
		return b.jsonCondition(k, ref)
	case k.sql == "bool" && chance(b.Rand, 50):
		return pick(b.Rand, []string{ref, "NOT " + ref, ref + " IS TRUE", ref + " IS NOT FALSE", ref + " = true"})
	}
	switch n := b.IntN(24); {
	case n < 5:
		return ref + " = " + b.param(k)
	case n == 5:
		return b.param(k) + " = " + ref
	case n == 6:
		return ref + " = ANY(" + b.arrayParam(k) + ")"
	case n == 7:
		return fmt.Sprintf("%s IN (%s, %s)", ref, k.literal(b.Rand), k.literal(b.Rand))
	case n == 8 && k.ordered:
		return fmt.Sprintf("%s >= %s AND %s < %s", ref, b.param(k), ref, b.param(k))
	case n == 9 && k.ordered:
		return fmt.Sprintf("%s BETWEEN %s AND %s", ref, b.param(k), b.param(k))
	case n == 10 && k.ordered:
		return ref + pick(b.Rand, []string{" < ", " <= ", " > ", " >= "}) + b.param(k)
	case n == 11 && c.null:
		return ref + pick(b.Rand, []string{" IS NULL", " IS NOT NULL"})
	case n == 12 && k.name != "varchar":
		p := b.paramOf(50, k.asked)
		return fmt.Sprintf("(%s::%s IS NULL OR %s = %s)", p, k.sql, ref, p)
	case n == 13:
		return fmt.Sprintf("(%s = %s OR %s)", ref, b.param(k), b.condition(rel, alias))
	case n == 14:
		return ref + pick(b.Rand, []string{" <> ", " IS DISTINCT FROM "}) + b.param(k)
	case n == 15:
		return ref + " IS NOT DISTINCT FROM " + b.paramOf(30, k.asked)
	case n == 16:
		return fmt.Sprintf("coalesce(%s, %s) = %s", ref, k.literal(b.Rand), b.param(k))
	case n == 17 && (k.sql == "text" || strings.HasPrefix(k.sql, "varchar")):
		return pick(b.Rand, []func() string{
			func() string { return ref + " LIKE 'a%'" },
			func() string { return "lower(" + ref + ") = lower(" + b.param(k) + ")" },
			func() string { return "left(" + ref + ", 1) = " + b.param(k) },
			func() string { return ref + " LIKE " + b.param(k) + " || '%'" },
		})()
	case n == 18 && k.cast != "":
		return fmt.Sprintf("%s = %s::%s", ref, b.paramOf(8, func(r *rand.Rand) string { return k.value(r) }), k.cast)
	case n == 19 && k.cast != "":
		return fmt.Sprintf("%s::%s = %s", ref, k.cast, b.paramOf(8, func(r *rand.Rand) string { return k.value(r) }))
	case n == 20:
		return fmt.Sprintf("NOT (%s = %s)", ref, b.param(k))
	case n == 21 && k.ordered:
		return fmt.Sprintf("(%s, %s) > (%s, %s)", ref, alias+"."+rel.key[0].name, b.param(k), b.param(rel.key[0].kind))
	case n == 22:
		return fmt.Sprintf("CASE WHEN %s = %s THEN true ELSE %s END", ref, b.param(k), b.condition(rel, alias))
	case n == 23:
		return ref + " = " + k.literal(b.Rand)
	}
	return ""
}

func (b *builder) arrayCondition(k *kind, ref string) string {
	elem := func(r *rand.Rand) string { return pick(r, []string{"a", "b", "c", "d"}) }
	if k.name == "numbers" {
		elem = func(r *rand.Rand) string { return itoa(r.IntN(5)) }
	}
	return pick(b.Rand, []func() string{
		func() string { return b.paramOf(10, elem) + " = ANY(" + ref + ")" },
		func() string { return ref + " @> ARRAY[" + b.paramOf(10, elem) + "]::" + k.sql },
		func() string { return ref + " = " + b.param(k) },
		func() string { return "cardinality(" + ref + ") > 1" },
	})()
}

func (b *builder) jsonCondition(k *kind, ref string) string {
	member := func(r *rand.Rand) string { return pick(r, []string{"0", "1", "2", "x", "y", "true"}) }
	return pick(b.Rand, []func() string{
		func() string { return ref + " ->> 'a' = " + b.paramOf(10, member) },
		func() string { return ref + " ->> 'a' = " + b.paramOf(10, member) },
		func() string { return ref + " #>> '{b,c}' = " + b.paramOf(10, member) },
		func() string { return ref + " ->> 'a' = ANY(" + b.arrayOf(member) + ")" },
		func() string { return ref + ` @> '{"a": 1}'` },
		func() string { return ref + " = " + b.param(k) },
		func() string { return ref + pick(b.Rand, []string{"", " ->> 'a'"}) + " IS NOT NULL" },
	})()
}
