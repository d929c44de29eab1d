package graph

// Orphans returns how many objects are numbered though no relationship names
// them any more, and how many are numbered at all.
func (g *Graph) Orphans() (orphans, objects int) {
	return g.names.objects.used - g.live, g.names.objects.used
}

// Compact numbers the objects anew without the orphans, and starts a new epoch.
// Earlier snapshots keep their own numbers. It takes about as long as loading.
func (g *Graph) Compact() (*Snapshot, error) {
	old := g.current.Load()
	b := NewBuilder()
	b.names.vocabulary = g.names.vocabulary
	b.names.versionVocabulary = g.names.versionVocabulary
	b.seq, b.epoch = old.seq+1, old.epoch+1

	renumbered := make([]ID, old.objects.end())
	for t := range old.Types() {
		for o := range old.Objects(Type(t+1), 0) {
			n, err := b.names.objects.intern(b.names.text, Type(t+1), old.objects.name(o))
			if err != nil {
				return nil, err
			}
			renumbered[o] = n
		}
	}
	old.out.each(func(res ID, e uint64) {
		rel, subRel, sub := unpack(e)
		b.add(renumbered[res], pack(rel, subRel, renumbered[sub]), old.alternatives(res, e))
	})
	fresh, err := b.Graph()
	if err != nil {
		return nil, err
	}
	g.names, g.live = fresh.names, fresh.live
	return g.publish(fresh.Snapshot()), nil
}
