package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// statement is one statement of a write, with the table that it changes.
type statement struct {
	table, sql string
	args       []any
}

// operation is one kind of write. Its statements are one transaction.
type operation struct {
	name   string
	share  int // per thousand
	making func(*marketWriter) []statement
}

// operations are the mix. The shares were fixed before anything was measured,
// from what a shop does:
//
//   - Carts are filled far more often than they are bought, and heartbeats and
//     counters are written as often as anything else: 400 of a thousand.
//   - An order is written once, in several tables, and then moves through two to
//     three states: 80 orders bring 190 status changes. Stock is counted and
//     received a little more often than it is sold.
//   - Prices and the catalogue are edited by people: 50. Reviews and votes on
//     them, and who follows whom, are what visitors leave behind: 125.
//   - The rest is rare in every shop, and is there because it is what goes wrong:
//     profiles, addresses, memberships, coupons, deletes, rows that move to
//     another key.
var operations = []operation{
	{"cart add", 150, (*marketWriter).cartAdd},
	{"cart quantity", 30, (*marketWriter).cartQuantity},
	{"cart remove", 40, (*marketWriter).cartRemove},
	{"user seen", 100, (*marketWriter).seen},
	{"product viewed", 60, (*marketWriter).viewed},
	{"stock reserved", 20, (*marketWriter).reserved},
	{"order placed", 80, (*marketWriter).order},
	{"order status", 190, (*marketWriter).status},
	{"stock counted", 90, (*marketWriter).stock},
	{"price", 30, (*marketWriter).price},
	{"product edited", 20, (*marketWriter).edit},
	{"review written", 35, (*marketWriter).review},
	{"review approved", 15, (*marketWriter).approve},
	{"review edited", 8, (*marketWriter).reviewEdit},
	{"review voted", 22, (*marketWriter).vote},
	{"follow", 30, (*marketWriter).follow},
	{"unfollow", 15, (*marketWriter).unfollow},
	{"profile edited", 20, (*marketWriter).profile},
	{"address", 15, (*marketWriter).address},
	{"membership", 8, (*marketWriter).membership},
	{"coupon", 5, (*marketWriter).coupon},
	{"delete", 10, (*marketWriter).remove},
	{"rekey", 7, (*marketWriter).rekey},
}

// marketWriter makes the writes, the same ones every time.
type marketWriter struct {
	*keys
	conn *pgx.Conn

	written              int
	orders, reviews      int // the newest
	addresses            int
	open                 []openOrder // in the order in which they were placed
	waiting              []waitingReview
	coupons              []string
	total                int // of the shares
	affected             map[string]bool
	token                string
	transactions, voided int
}

type openOrder struct {
	id     int
	status string
}

type waitingReview struct{ id, product int }

func newMarketWriter(ctx context.Context, conn *pgx.Conn, seed uint64) (*marketWriter, error) {
	w := &marketWriter{keys: newKeys(seed), conn: conn, addresses: marketAddresses}
	if err := conn.QueryRow(ctx, "SELECT max(id) FROM orders").Scan(&w.orders); err != nil {
		return nil, err
	}
	if err := conn.QueryRow(ctx, "SELECT max(id) FROM reviews").Scan(&w.reviews); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT id, status FROM orders WHERE status IN ('pending', 'paid', 'shipped') ORDER BY id")
	if err != nil {
		return nil, err
	}
	w.open, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (o openOrder, err error) { return o, r.Scan(&o.id, &o.status) })
	if err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, "SELECT id, product_id FROM reviews WHERE NOT approved ORDER BY id")
	if err != nil {
		return nil, err
	}
	w.waiting, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (v waitingReview, err error) { return v, r.Scan(&v.id, &v.product) })
	for i := range marketCoupons {
		w.coupons = append(w.coupons, fmt.Sprintf("CODE%d", i))
	}
	for _, o := range operations {
		w.total += o.share
	}
	return w, err
}

// write makes one transaction. Afterwards token names it, and affected are the
// tables of which a row has changed.
func (w *marketWriter) write(ctx context.Context) (*operation, error) {
	w.written++
	n := w.IntN(w.total)
	op := &operations[0]
	for i := range operations {
		if op = &operations[i]; n < op.share {
			break
		}
		n -= op.share
	}
	statements := op.making(w)
	batch := &pgx.Batch{} // without BEGIN, one transaction
	for _, s := range statements {
		batch.Queue(s.sql, s.args...)
	}
	batch.Queue("SELECT tidemark.token()")
	results := w.conn.SendBatch(ctx, batch)
	w.affected = map[string]bool{}
	for _, s := range statements {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close()
			return nil, fmt.Errorf("%s: %w\nin: %s", op.name, err, s.sql)
		}
		if tag.RowsAffected() > 0 {
			w.affected[s.table] = true
		}
	}
	err := results.QueryRow().Scan(&w.token)
	if cerr := results.Close(); err == nil {
		err = cerr
	}
	w.transactions++
	if len(w.affected) == 0 {
		w.voided++
	}
	return op, err
}

// now is the shop's clock. It never stands still, so no two rows have one time.
func (w *marketWriter) now() time.Time {
	return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(w.written) * time.Minute)
}

func (w *marketWriter) cartAdd() []statement {
	cart := w.user()
	if w.IntN(10) == 0 {
		cart = w.guest()
	}
	return []statement{
		{"cart_items", `INSERT INTO cart_items VALUES ($1, $2, 1, $3)
			ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = cart_items.quantity + 1`, []any{cart, w.product(), w.now()}},
		{"carts", "INSERT INTO carts VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at", []any{cart, w.now()}},
	}
}

func (w *marketWriter) cartQuantity() []statement {
	return []statement{{"cart_items", `UPDATE cart_items SET quantity = 1 + (quantity + $2) % 6
		WHERE cart_id = $1 AND product_id = (SELECT max(product_id) FROM cart_items WHERE cart_id = $1)`, []any{w.user(), w.IntN(5)}}}
}

func (w *marketWriter) cartRemove() []statement {
	return []statement{{"cart_items", `DELETE FROM cart_items
		WHERE cart_id = $1 AND product_id = (SELECT min(product_id) FROM cart_items WHERE cart_id = $1)`, []any{w.user()}}}
}

func (w *marketWriter) seen() []statement {
	return []statement{{"users", "UPDATE users SET last_seen = $2 WHERE id = $1", []any{w.user(), w.now()}}}
}

func (w *marketWriter) viewed() []statement {
	return []statement{{"products", "UPDATE products SET views = views + 1 WHERE id = $1", []any{w.product()}}}
}

func (w *marketWriter) reserved() []statement {
	return []statement{{
		"inventory", "UPDATE inventory SET reserved = reserved + 1, updated_at = $3 WHERE product_id = $1 AND warehouse_id = $2",
		[]any{w.product(), 1 + w.IntN(4), w.now()},
	}}
}

// order places one with one to four lines, takes them from stock and out of the
// cart, and sums up.
func (w *marketWriter) order() []statement {
	w.orders++
	user := w.user()
	var coupon *string
	if w.IntN(10) == 0 {
		coupon = &w.coupons[w.IntN(len(w.coupons))]
	}
	out := []statement{{
		"orders", "INSERT INTO orders VALUES ($1, $2, $3, 'pending', 0, $4, $5, NULL, $6, NULL, $6)",
		[]any{w.orders, accountOf(user), user, w.IntN(4) == 0, coupon, w.now()},
	}}
	var products []int
	for range 1 + w.IntN(4) {
		if p := w.product(); !slices.Contains(products, p) {
			products = append(products, p)
		}
	}
	for i, p := range products {
		quantity := 1 + w.IntN(3)
		out = append(out,
			statement{
				"order_lines", "INSERT INTO order_lines SELECT $1::bigint, $2::int, id, $4::int, price FROM products WHERE id = $3",
				[]any{w.orders, i + 1, p, quantity},
			},
			statement{
				"inventory", "UPDATE inventory SET quantity = greatest(0, quantity - $3), updated_at = $4 WHERE product_id = $1 AND warehouse_id = $2",
				[]any{p, 1 + w.IntN(4), quantity, w.now()},
			})
	}
	out = append(out,
		statement{"orders", `UPDATE orders SET total = (SELECT sum(quantity * unit_price) FROM order_lines WHERE order_id = $1) WHERE id = $1`, []any{w.orders}},
		statement{"cart_items", "DELETE FROM cart_items WHERE cart_id = $1 AND product_id = ANY ($2)", []any{user, products}})
	if coupon != nil {
		out = append(out, statement{"coupons", "UPDATE coupons SET uses = uses + 1 WHERE code = $1", []any{*coupon}})
	}
	w.open = append(w.open, openOrder{w.orders, "pending"})
	return out
}

// status moves an open order along, an older one as likely as a newer one.
func (w *marketWriter) status() []statement {
	if len(w.open) == 0 {
		return w.order()
	}
	i := w.IntN(len(w.open))
	o := &w.open[i]
	switch {
	case o.status == "pending" && w.IntN(12) == 0:
		o.status = "cancelled"
	case o.status == "pending":
		o.status = "paid"
	case o.status == "paid":
		o.status = "shipped"
	default:
		o.status = "delivered"
	}
	sql := "UPDATE orders SET status = $2, updated_at = $3 WHERE id = $1"
	if o.status == "shipped" {
		sql = "UPDATE orders SET status = $2, updated_at = $3, shipped_at = $3 WHERE id = $1"
	}
	out := []statement{{"orders", sql, []any{o.id, o.status, w.now()}}}
	if o.status == "delivered" || o.status == "cancelled" {
		w.open = slices.Delete(w.open, i, i+1)
	}
	return out
}

func (w *marketWriter) stock() []statement {
	return []statement{{
		"inventory", "UPDATE inventory SET quantity = $3, updated_at = $4 WHERE product_id = $1 AND warehouse_id = $2",
		[]any{w.product(), 1 + w.IntN(4), w.IntN(80), w.now()},
	}}
}

func (w *marketWriter) price() []statement {
	return []statement{{
		"products", "UPDATE products SET price = $2, updated_at = $3 WHERE id = $1",
		[]any{w.product(), 5 + float64(w.IntN(60))*2.5, w.now()},
	}}
}

func (w *marketWriter) edit() []statement {
	product := w.product()
	set := []string{
		"name = split_part(name, ' ', 1) || ' ' || split_part(name, ' ', 2) || ' ' || $3::int",
		"tags = ARRAY['tag' || $3::int % 25, 'tag' || 25 + $3::int % 25]",
		"attributes = attributes || jsonb_build_object('colour', 'shade ' || $3::int)",
		"active = $3::int % 4 > 0",
	}[w.IntN(4)]
	return []statement{{"products", "UPDATE products SET updated_at = $2, " + set + " WHERE id = $1", []any{product, w.now(), w.IntN(100)}}}
}

// rate computes a product's rating from its reviews, as shops keep it.
func rate(product int) statement {
	return statement{"products", `UPDATE products SET rating = (SELECT round(avg(stars), 2) FROM reviews WHERE product_id = $1 AND approved)
		WHERE id = $1`, []any{product}}
}

func (w *marketWriter) review() []statement {
	w.reviews++
	product, approved := w.product(), w.IntN(10) < 6
	out := []statement{{
		"reviews", "INSERT INTO reviews VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
		[]any{w.reviews, product, w.user(), 1 + w.IntN(5), fmt.Sprintf("Review %d", w.reviews), approved, w.now()},
	}}
	if approved {
		return append(out, rate(product))
	}
	w.waiting = append(w.waiting, waitingReview{w.reviews, product})
	return out
}

func (w *marketWriter) approve() []statement {
	if len(w.waiting) == 0 {
		return w.review()
	}
	i := w.IntN(len(w.waiting))
	r := w.waiting[i]
	w.waiting = slices.Delete(w.waiting, i, i+1)
	return []statement{{"reviews", "UPDATE reviews SET approved = true WHERE id = $1", []any{r.id}}, rate(r.product)}
}

func (w *marketWriter) recentReview() int { return w.reviews - int(w.recent.Uint64()) }

func (w *marketWriter) reviewEdit() []statement {
	return []statement{{
		"reviews", "UPDATE reviews SET title = $2 WHERE id = $1",
		[]any{w.recentReview(), fmt.Sprintf("Edited %d", w.written)},
	}}
}

func (w *marketWriter) vote() []statement {
	return []statement{{"reviews", "UPDATE reviews SET helpful = helpful + 1 WHERE id = $1", []any{w.recentReview()}}}
}

func (w *marketWriter) follow() []statement {
	return []statement{{"follows", "INSERT INTO follows SELECT $1::bigint, $2::bigint, $3::timestamptz WHERE $1 <> $2 ON CONFLICT DO NOTHING", []any{w.user(), w.user(), w.now()}}}
}

func (w *marketWriter) unfollow() []statement {
	return []statement{{"follows", `DELETE FROM follows
		WHERE follower_id = $1 AND followee_id = (SELECT min(followee_id) FROM follows WHERE follower_id = $1)`, []any{w.user()}}}
}

func (w *marketWriter) profile() []statement {
	if w.IntN(4) == 0 {
		return []statement{{"users", "UPDATE users SET name = $2 WHERE id = $1", []any{w.user(), fmt.Sprintf("Renamed %d", w.written)}}}
	}
	return []statement{{
		"users", "UPDATE users SET profile = profile || jsonb_build_object('locale', $2::text) WHERE id = $1",
		[]any{w.user(), []string{"de", "fr", "en", "pt", "sv"}[w.IntN(5)]},
	}}
}

func (w *marketWriter) address() []statement {
	if w.IntN(2) == 0 {
		w.addresses++
		return []statement{{
			"addresses", "INSERT INTO addresses VALUES ($1, $2, 'other', $3, 'City 1')",
			[]any{w.addresses, w.user(), fmt.Sprintf("Street %d", w.written)},
		}}
	}
	return []statement{{
		"addresses", "UPDATE addresses SET street = $2 WHERE id = (SELECT max(id) FROM addresses WHERE user_id = $1)",
		[]any{w.user(), fmt.Sprintf("Street %d", w.written)},
	}}
}

func (w *marketWriter) membership() []statement {
	user := w.user()
	if w.IntN(3) == 0 {
		return []statement{{"memberships", "DELETE FROM memberships WHERE user_id = $1 AND role = 'guest'", []any{user}}}
	}
	return []statement{{
		"memberships", "INSERT INTO memberships VALUES ($1, $2, 'guest') ON CONFLICT (account_id, user_id) DO UPDATE SET role = 'buyer'",
		[]any{w.account(), user},
	}}
}

func (w *marketWriter) coupon() []statement {
	return []statement{{"coupons", "UPDATE coupons SET active = NOT active WHERE code = $1", []any{w.coupons[w.IntN(len(w.coupons))]}}}
}

func (w *marketWriter) remove() []statement {
	switch w.IntN(3) {
	case 0:
		product := w.product()
		return []statement{{
			"reviews", "DELETE FROM reviews WHERE id = (SELECT min(id) FROM reviews WHERE product_id = $1 AND approved)", []any{product},
		}, rate(product)}
	case 1:
		return []statement{{"cart_items", "DELETE FROM cart_items WHERE cart_id = $1", []any{w.user()}}}
	default:
		return []statement{{"addresses", "DELETE FROM addresses WHERE id = (SELECT min(id) FROM addresses WHERE user_id = $1)", []any{w.user()}}}
	}
}

// rekey moves rows to another key: a guest's cart becomes that of a user, a
// product moves to another category, an order to another account, a coupon is
// renamed.
func (w *marketWriter) rekey() []statement {
	switch w.IntN(4) {
	case 0:
		guest, user := w.guest(), w.user()
		return []statement{
			{"cart_items", `DELETE FROM cart_items
				WHERE cart_id = $1 AND product_id IN (SELECT product_id FROM cart_items WHERE cart_id = $2)`, []any{guest, user}},
			{"cart_items", "UPDATE cart_items SET cart_id = $2 WHERE cart_id = $1", []any{guest, user}},
		}
	case 1:
		return []statement{{"products", "UPDATE products SET category_id = $2 WHERE id = $1", []any{w.product(), 1 + w.IntN(marketCategories)}}}
	case 2:
		return []statement{{
			"orders", "UPDATE orders SET account_id = $2 WHERE id = $1",
			[]any{w.orders - int(w.recent.Uint64()), w.account()},
		}}
	default:
		i := w.IntN(len(w.coupons))
		old := w.coupons[i]
		w.coupons[i], _, _ = strings.Cut(old, "-")
		w.coupons[i] += fmt.Sprintf("-%d", w.written)
		return []statement{{"coupons", "UPDATE coupons SET code = $2 WHERE code = $1", []any{old, w.coupons[i]}}}
	}
}
