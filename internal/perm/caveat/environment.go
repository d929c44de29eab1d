package caveat

import (
	"errors"
	"net/netip"
	"reflect"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// environment is CEL's standard one, with optional values, timestamps in UTC
// unless a zone is named, and what SpiceDB's schemas may use besides.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.OptionalTypes(),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.RegexProgramSizeLimit(regexLimit),
		cel.Function("in_cidr", cel.MemberOverload("ipaddress_in_cidr_string",
			[]*cel.Type{ipType, cel.StringType}, cel.BoolType, cel.BinaryBinding(inCIDR))),
		cel.Function("isSubtreeOf", cel.MemberOverload("map_is_subtree_of_map",
			[]*cel.Type{cel.MapType(cel.StringType, cel.TypeParamType("A")), cel.MapType(cel.StringType, cel.TypeParamType("B"))},
			cel.BoolType, cel.BinaryBinding(isSubtreeOf))),
	)
})

var ipType = cel.OpaqueType("IPAddress")

// An address is a value of the type ipaddress.
type address struct{ netip.Addr }

// ConvertToNative implements ref.Val.
func (a address) ConvertToNative(to reflect.Type) (any, error) {
	if to == reflect.TypeFor[netip.Addr]() {
		return a.Addr, nil
	}
	if to.Kind() == reflect.String {
		return a.Addr.String(), nil
	}
	return nil, errors.New("an ipaddress cannot become a " + to.String())
}

// ConvertToType implements ref.Val.
func (a address) ConvertToType(to ref.Type) ref.Val {
	switch to {
	case types.StringType:
		return types.String(a.Addr.String())
	case types.TypeType:
		return ipType
	}
	return types.NewErr("an ipaddress cannot become a %s", to.TypeName())
}

// Equal implements ref.Val. An IPv4 address is the same when written as IPv6.
func (a address) Equal(other ref.Val) ref.Val {
	o, ok := other.(address)
	return types.Bool(ok && o.Unmap() == a.Unmap())
}

// Type implements ref.Val.
func (a address) Type() ref.Type { return ipType }

// Value implements ref.Val.
func (a address) Value() any { return a.Addr }

// inCIDR reports whether an address is in a network such as 10.0.0.0/8. An IPv4
// address that is written as IPv6 (::ffff:10.0.0.1) is in the networks of both.
func inCIDR(ip, network ref.Val) ref.Val {
	a, ok := ip.(address)
	if !ok {
		return types.MaybeNoSuchOverloadErr(ip)
	}
	text, ok := network.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(network)
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return types.NewErr("%.60q is not a network such as 10.0.0.0/8", string(text))
	}
	return types.Bool(prefix.Contains(a.Addr) || prefix.Contains(a.Unmap()))
}

// isSubtreeOf reports whether every entry of one map is in the other: with an
// equal value, or where both have a map, one that is a subtree of the other's.
func isSubtreeOf(one, other ref.Val) ref.Val {
	a, ok := one.(traits.Mapper)
	if !ok {
		return types.MaybeNoSuchOverloadErr(one)
	}
	b, ok := other.(traits.Mapper)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Bool(subtree(a, b))
}

func subtree(a, b traits.Mapper) bool {
	for it := a.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		y, ok := b.Find(key)
		if !ok {
			return false
		}
		x := a.Get(key)
		mx, xIsMap := x.(traits.Mapper)
		my, yIsMap := y.(traits.Mapper)
		if xIsMap && yIsMap {
			if !subtree(mx, my) {
				return false
			}
		} else if types.Equal(x, y) != types.True {
			return false
		}
	}
	return true
}
