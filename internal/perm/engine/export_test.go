package engine

// NewEagerCache returns a cache that keeps what does not pay too, so that small
// graphs fill it.
func NewEagerCache(bytes int) *Cache {
	c := NewCache(bytes)
	c.eager = true
	return c
}

// Sets returns how many bytes the sets of a cache take, and how many there are.
func (c *Cache) Sets() (size int64, n int) {
	g := c.current.Load()
	for i := range g.sets {
		if k := g.sets[i].Load(); k != nil {
			size += k.size()
			n++
		}
	}
	return size, n
}
