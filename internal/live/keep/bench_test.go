package keep

import (
	"context"
	"fmt"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func BenchmarkAppend(b *testing.B) {
	for _, rows := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("rows=", rows), func(b *testing.B) {
			l := openLog(b, Options{Dir: b.TempDir()})
			l.Continue(source, 0)
			rel := items(1)
			tx := &change.Transaction{}
			for i := range rows {
				tx.Changes = append(tx.Changes, insert(rel, i))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				tx.End = revision.LSN(i + 1)
				if err := l.Append(tx, everything); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkOpenAndRead opens a log of 2,000,000 rows in transactions of ten, and reads
// one table of ten, or all.
func BenchmarkOpenAndRead(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	l := openLog(b, o)
	l.Continue(source, 0)
	var rels []*catalog.Relation
	for i := range 10 {
		rels = append(rels, items(catalog.OID(i)))
	}
	const last = 200_000
	for i := range revision.LSN(last) {
		tx := &change.Transaction{End: i + 1}
		for j := range 10 {
			tx.Changes = append(tx.Changes, insert(rels[i%10], j))
		}
		if err := l.Append(tx, everything); err != nil {
			b.Fatal(err)
		}
	}
	size := l.Size()
	b.Run("open", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			l.Close()
			l = openLog(b, o)
		}
	})
	l.Close()
	l = openLog(b, o)
	for name, tables := range map[string]map[catalog.OID]bool{"read=one": {3: true}, "read=all": nil} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for range b.N {
				err := l.Read(context.Background(), tables, 0, last, func(tx *Tx) (bool, error) {
					return true, tx.Each(0, tables, func(uint64, *change.Change) (bool, error) {
						n++
						return true, nil
					})
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("scan=one", func(b *testing.B) {
		n := 0
		for range b.N {
			l.Scan(map[catalog.OID]bool{3: true}, 0, last, func(revision.XID, revision.LSN) bool { n++; return true })
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "transactions/s")
	})
}
