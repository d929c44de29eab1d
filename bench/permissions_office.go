package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
)

// officeSchema has the three shapes that cost something: groups in groups,
// folders in folders, and what is taken away again.
const officeSchema = `definition user {}

definition group {
	relation member: user | group#member
}

definition folder {
	relation parent: folder
	relation owner: user
	relation viewer: user | group#member
	permission edit = owner + parent->edit
	permission view = viewer + edit + parent->view
}

definition document {
	relation parent: folder
	relation owner: user
	relation viewer: user | group#member
	relation banned: user
	permission edit = owner + parent->edit
	permission view = (viewer + edit + parent->view) - banned
}
`

// The measures of an office, which has about 100,000 relationships. A larger one
// is several that share users and groups: it grows in width, as companies do.
const (
	officeUsers     = 10_000
	officeLeaves    = 1000 // groups that hold users
	officeEach      = 20   // users to a group, and ten groups to a group above
	officeNested    = 10
	officeDocuments = 20_000
	officeFanout    = 6
	officeDepth     = 5
)

// office holds the facts in a form of its own, from which the right answer
// follows without anything that is measured.
type office struct {
	users, documents  int
	leaves, mids, top int // groups by level; ids go on from level to level

	members  []int32 // officeEach of each leaf
	groupsAt []int32 // where a user's begin in groups
	groups   []int32 // leaves that users are in

	up          []int32 // folder above, -1: none
	folderOwner []int32
	folderGroup []int32 // that may view it, -1: none

	parent, owner, group, banned []int32
	viewers                      [][2]int32 // the second may be -1
}

// newOffice makes so many offices in one, always the same.
func newOffice(scale int) *office {
	o := &office{users: officeUsers * scale, documents: officeDocuments * scale, leaves: officeLeaves * scale}
	o.mids = o.leaves / officeNested
	o.top = o.mids / officeNested
	rng := rand.New(rand.NewPCG(20, 26))
	user := func() int32 { return int32(rng.IntN(o.users)) }
	o.join(rng)
	var deepest []int32
	for range scale {
		deepest = append(deepest, o.tree(rng)...)
	}
	o.viewers = make([][2]int32, o.documents)
	for _, column := range []*[]int32{&o.parent, &o.owner, &o.group, &o.banned} {
		*column = make([]int32, o.documents)
	}
	for d := range o.documents {
		o.parent[d], o.owner[d] = deepest[rng.IntN(len(deepest))], user()
		o.viewers[d], o.group[d], o.banned[d] = [2]int32{user(), -1}, -1, -1
		if v := user(); rng.IntN(2) == 0 && v != o.viewers[d][0] {
			o.viewers[d][1] = v
		}
		if rng.IntN(5) == 0 {
			o.group[d] = int32(rng.IntN(o.leaves))
		}
		switch rng.IntN(20) {
		case 0:
			o.banned[d] = user()
		case 1: // one that counts
			o.banned[d] = o.viewers[d][0]
		}
	}
	return o
}

// join puts users into the leaves.
func (o *office) join(rng *rand.Rand) {
	o.members = make([]int32, 0, o.leaves*officeEach)
	o.groupsAt = make([]int32, o.users+1)
	for range o.leaves {
		first := len(o.members)
	next:
		for len(o.members) < first+officeEach {
			u := int32(rng.IntN(o.users))
			for _, other := range o.members[first:] {
				if other == u {
					continue next
				}
			}
			o.members = append(o.members, u)
			o.groupsAt[u+1]++
		}
	}
	for u := range o.users {
		o.groupsAt[u+1] += o.groupsAt[u]
	}
	o.groups = make([]int32, len(o.members))
	next := append([]int32(nil), o.groupsAt...)
	for i, u := range o.members {
		o.groups[next[u]] = int32(i / officeEach)
		next[u]++
	}
}

// tree adds folders and returns the deepest.
func (o *office) tree(rng *rand.Rand) []int32 {
	level := []int32{-1}
	fanout := 1
	for depth := range officeDepth {
		var below []int32
		for _, parent := range level {
			for range fanout {
				f := int32(len(o.up))
				below = append(below, f)
				group := int32(-1)
				switch {
				case depth == 0 || rng.IntN(2) == 0:
				case depth == 2: // the largest groups see much
					group = int32(o.leaves + o.mids + rng.IntN(o.top))
				default:
					group = int32(rng.IntN(o.leaves + o.mids))
				}
				o.up, o.folderOwner, o.folderGroup = append(o.up, parent), append(o.folderOwner, int32(rng.IntN(o.users))), append(o.folderGroup, group)
			}
		}
		level, fanout = below, officeFanout
	}
	return level
}

// in reports whether a user is in a group, through others too.
func (o *office) in(u, g int32) bool {
	for _, leaf := range o.groups[o.groupsAt[u]:o.groupsAt[u+1]] {
		mid := o.above(leaf)
		if leaf == g || mid == g || o.above(mid) == g {
			return true
		}
	}
	return false
}

// above returns the group that a group below the top is in.
func (o *office) above(g int32) int32 {
	if int(g) < o.leaves {
		return int32(o.leaves + int(g)/officeNested)
	}
	return int32(o.leaves + o.mids + (int(g)-o.leaves)/officeNested)
}

// views says who may view a document.
func (o *office) views(d, u int32) bool {
	switch {
	case o.banned[d] == u:
		return false
	case o.owner[d] == u, o.viewers[d][0] == u, o.viewers[d][1] == u, o.group[d] >= 0 && o.in(u, o.group[d]):
		return true
	}
	for f := o.parent[d]; f >= 0; f = o.up[f] {
		if o.folderOwner[f] == u || o.folderGroup[f] >= 0 && o.in(u, o.folderGroup[f]) {
			return true
		}
	}
	return false
}

// visible lists the documents that a user may view.
func (o *office) visible(u int32) (out []int32) {
	for d := range int32(o.documents) {
		if o.views(d, u) {
			out = append(out, d)
		}
	}
	return out
}

// reader is a user with all documents that the user may view.
type reader struct {
	user    int32
	views   []bool // by document
	visible int
}

// readers picks, of some users, those who may view about so many documents.
func (o *office) readers(documents int) []reader {
	const some, picked = 500, 32
	rng := rand.New(rand.NewPCG(1, 1))
	off := func(r reader) int { return max(r.visible-documents, documents-r.visible) }
	all := make([]reader, some)
	for i := range all {
		u := int32(rng.IntN(o.users))
		all[i] = reader{user: u, visible: len(o.visible(u))}
	}
	slices.SortFunc(all, func(a, b reader) int { return cmp.Compare(off(a), off(b)) })
	all = all[:picked]
	for i := range all {
		all[i].views = make([]bool, o.documents)
		for _, d := range o.visible(all[i].user) {
			all[i].views[d] = true
		}
	}
	return all
}

func mean(readers []reader) int {
	sum := 0
	for i := range readers {
		sum += readers[i].visible
	}
	return sum / len(readers)
}

// draw picks a document and a user, in about half the cases one who is near it.
func (o *office) draw(rng *rand.Rand) (d, u int32) {
	d = int32(rng.IntN(o.documents))
	switch rng.IntN(8) {
	case 0:
		return d, o.owner[d]
	case 1:
		return d, o.viewers[d][0]
	case 2: // the owner of a folder above
		f := o.parent[d]
		for n := rng.IntN(officeDepth); n > 0 && o.up[f] >= 0; n-- {
			f = o.up[f]
		}
		return d, o.folderOwner[f]
	case 3:
		if g := int(o.group[d]); g >= 0 {
			return d, o.members[g*officeEach+rng.IntN(officeEach)]
		}
	}
	return d, int32(rng.IntN(o.users))
}

// The letters by which ids begin, so that they are nobody else's.
const (
	userID     = "p"
	groupID    = "t"
	folderID   = "b"
	documentID = "s"
)

func appendID(b []byte, letter string, n int32) []byte {
	return strconv.AppendInt(append(b, letter...), int64(n), 10)
}

func idOf(letter string, n int32) string { return string(appendID(nil, letter, n)) }

// relationship is one with numbers for ids.
type relationship struct {
	typ             string
	letter          string
	id              int32
	relation        string
	subject         string
	subjectLetter   string
	subjectID       int32
	subjectRelation string
}

// appendRow appends what COPY reads.
func (r *relationship) appendRow(b []byte) []byte {
	b = append(append(b, r.typ...), '\t')
	b = append(appendID(b, r.letter, r.id), '\t')
	b = append(append(b, r.relation...), '\t')
	b = append(append(b, r.subject...), '\t')
	b = append(appendID(b, r.subjectLetter, r.subjectID), '\t')
	return append(append(b, r.subjectRelation...), '\n')
}

// relationships calls f with each, until it returns false.
func (o *office) relationships(f func(relationship) bool) {
	to := func(typ, letter string, id int32, relation, subject, subjectLetter string, subjectID int32, subjectRelation string) bool {
		return subjectID < 0 || f(relationship{typ, letter, id, relation, subject, subjectLetter, subjectID, subjectRelation})
	}
	user := func(typ, letter string, id int32, relation string, u int32) bool {
		return to(typ, letter, id, relation, "user", userID, u, "")
	}
	group := func(typ, letter string, id int32, relation string, g int32) bool {
		return to(typ, letter, id, relation, "group", groupID, g, "member")
	}
	for i, u := range o.members {
		if !user("group", groupID, int32(i/officeEach), "member", u) {
			return
		}
	}
	for g := range int32(o.leaves + o.mids) {
		if !group("group", groupID, o.above(g), "member", g) {
			return
		}
	}
	for f, parent := range o.up {
		id := int32(f)
		if !to("folder", folderID, id, "parent", "folder", folderID, parent, "") ||
			!user("folder", folderID, id, "owner", o.folderOwner[f]) ||
			!group("folder", folderID, id, "viewer", o.folderGroup[f]) {
			return
		}
	}
	for d := range int32(o.documents) {
		if !to("document", documentID, d, "parent", "folder", folderID, o.parent[d], "") ||
			!user("document", documentID, d, "owner", o.owner[d]) ||
			!user("document", documentID, d, "viewer", o.viewers[d][0]) ||
			!user("document", documentID, d, "viewer", o.viewers[d][1]) ||
			!group("document", documentID, d, "viewer", o.group[d]) ||
			!user("document", documentID, d, "banned", o.banned[d]) {
			return
		}
	}
}
