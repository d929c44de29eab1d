package oracle

import "fmt"

// storm changes a row so often that applying the transaction takes a while, and
// others beside it before and after.
func (w *writer) storm(t *table) error {
	where := w.keyTest(t)
	old, err := w.rows(fmt.Sprintf("SELECT x::text FROM %s x WHERE %s FOR UPDATE", t.scanned(), where))
	if err != nil || len(old) != 1 {
		return err
	}
	if err := w.insert(t, " ON CONFLICT DO NOTHING"); err != nil {
		return err
	}
	c := t.cols[len(t.cols)-1]
	again := fmt.Sprintf("UPDATE %s x SET %s = %%s WHERE %s;", t.scanned(), c.name, where)
	body := fmt.Sprintf(again, w.random(c)) + fmt.Sprintf(again, w.random(c))
	if err := w.exec(fmt.Sprintf("DO $do$ BEGIN FOR i IN 1..%d LOOP %s END LOOP; END $do$", stormSize/2, body)); err != nil {
		return err
	}
	rows, err := w.rows(fmt.Sprintf("SELECT x::text FROM %s x WHERE %s", t.scanned(), where))
	w.did(t.erase, old)
	w.did(t.place, rows)
	if err != nil {
		return err
	}
	return w.insert(t, " ON CONFLICT DO NOTHING")
}

// stormSize is how many changes a storm has: some batches of those that are
// applied at a time.
const stormSize = 3000
