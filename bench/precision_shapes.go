package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/query"
)

// Sizes of the shop, as precision/load.sql makes it.
const (
	marketUsers      = 3000
	marketProducts   = 600
	marketAccounts   = 150
	marketCategories = 40
	marketOrders     = 12000
	marketReviews    = 9000
	marketAddresses  = 4500
	marketCoupons    = 60
	marketGuests     = 300 // carts beyond those of users
)

// keys draws what a request or a write is about. Keys are Zipf distributed with
// exponent 1.1, about what is measured for the popularity of pages and goods; who
// is asked for most is also written most. Of orders and reviews, the latest are
// the hottest.
type keys struct {
	*rand.Rand
	users, products, recent, guests *rand.Zipf
}

func newKeys(seed uint64) *keys {
	r := rand.New(rand.NewPCG(2026, seed))
	zipf := func(n uint64) *rand.Zipf { return rand.NewZipf(r, 1.1, 1, n-1) }
	return &keys{Rand: r, users: zipf(marketUsers), products: zipf(marketProducts), recent: zipf(8000), guests: zipf(marketGuests)}
}

// The multiplications scatter ranks over ids, so that what is hot is not what has
// the smallest ids.
func (k *keys) user() int     { return 1 + int(k.users.Uint64())*1009%marketUsers }
func (k *keys) product() int  { return 1 + int(k.products.Uint64())*389%marketProducts }
func (k *keys) guest() int    { return marketUsers + 1 + int(k.guests.Uint64()) }
func (k *keys) category() int { return 1 + k.product()*7%marketCategories }

// account is that of some user, as load.sql and the writer assign them.
func (k *keys) account() int { return accountOf(k.user()) }

func accountOf(user int) int { return 1 + user%marketAccounts }

// shape is one endpoint of the measurement.
type shape struct {
	name string
	// tables are what the statement reads, through views too: the whole of what
	// an invalidation by table knows.
	tables []string
	// single says that the statement reads one table, as a list, a lookup or a
	// count: what could follow its rows without a query.
	single bool
	values func(*keys) map[string]string
}

func one(name string, f func(*keys) int) func(*keys) map[string]string {
	return func(k *keys) map[string]string { return map[string]string{name: strconv.Itoa(f(k))} }
}

// shapes has one entry for each file in precision/endpoints but settled.sql.
var shapes = []shape{
	{"product", []string{"products"}, true, one("id", (*keys).product)},
	{"user_addresses", []string{"addresses"}, true, one("id", (*keys).user)},
	{"user_orders", []string{"orders"}, true, one("id", (*keys).user)},
	{"category_page", []string{"products"}, true, func(k *keys) map[string]string {
		m := map[string]string{"id": strconv.Itoa(k.category())}
		if k.IntN(3) == 0 {
			m["offset"] = "6"
		}
		return m
	}},
	{"category_rated", []string{"products"}, true, one("id", (*keys).category)},
	{"newest_orders", []string{"orders"}, true, limit},
	{"newest_reviews", []string{"reviews", "products", "users"}, false, limit},
	{"order", []string{"orders", "users"}, false, one("id", recentOrder)},
	{"order_contents", []string{"order_lines", "products", "categories"}, false, one("id", recentOrder)},
	{"bought", []string{"users", "orders", "order_lines", "products"}, false, func(k *keys) map[string]string {
		return map[string]string{"email": fmt.Sprintf("user%d@example.com", k.user())}
	}},
	{"product_reviews", []string{"reviews", "users"}, false, one("id", (*keys).product)},
	{"similar", []string{"products"}, false, one("id", (*keys).product)},
	{"account_waiting", []string{"memberships", "users", "orders"}, false, one("id", (*keys).account)},
	{"to_review", []string{"orders", "order_lines", "reviews"}, false, one("id", (*keys).user)},
	{"followed_reviews", []string{"reviews", "follows"}, false, one("id", (*keys).user)},
	{"user_feed", []string{"orders", "reviews"}, false, one("id", (*keys).user)},
	{"user_categories", []string{"orders", "order_lines", "products", "categories"}, false, one("id", (*keys).user)},
	{"recent_lines", []string{"orders", "order_lines"}, false, one("id", (*keys).user)},
	{"account_latest", []string{"memberships", "orders"}, false, one("id", (*keys).account)},
	{"product_stock", []string{"inventory"}, false, one("id", (*keys).product)},
	{"user_totals", []string{"orders"}, false, one("id", (*keys).user)},
	{"cart_total", []string{"cart_items"}, true, one("id", (*keys).user)},
	{"orders_between", []string{"orders"}, true, func(k *keys) map[string]string {
		// Months, the current one most often.
		month := [][2]string{{"2026-03", "2026-04"}, {"2026-03", "2026-04"}, {"2026-02", "2026-03"}, {"2026-01", "2026-02"}}[k.IntN(4)]
		return map[string]string{"id": strconv.Itoa(k.account()), "from": month[0] + "-01T00:00:00Z", "until": month[1] + "-01T00:00:00Z"}
	}},
	{"products_by_id", []string{"products"}, true, func(k *keys) map[string]string {
		var ids []string
		for range 4 {
			ids = append(ids, strconv.Itoa(k.product()))
		}
		return map[string]string{"ids": "{" + strings.Join(ids, ",") + "}"}
	}},
	{"product_search", []string{"products"}, true, func(k *keys) map[string]string {
		words := []string{"Arc", "Basic", "Cobalt", "Delta", "Echo", "Flint", "Grand", "Halo", "Iris", "Jade"}
		goods := []string{"", " ", " L", " C", " Ke", " Board"}
		return map[string]string{"prefix": words[k.IntN(len(words))] + goods[k.IntN(len(goods))]}
	}},
	{"express_waiting", []string{"orders"}, true, one("id", (*keys).account)},
	{"tagged", []string{"products"}, true, func(k *keys) map[string]string {
		return map[string]string{"tag": "tag" + strconv.Itoa(k.product()%50)}
	}},
	{"brand", []string{"products"}, true, func(k *keys) map[string]string {
		return map[string]string{"brand": "brand " + strconv.Itoa(k.product()%40)}
	}},
	{"profile", []string{"users", "follows", "reviews"}, false, one("id", (*keys).user)},
	{"account_orders", []string{"orders"}, true, func(k *keys) map[string]string {
		m := map[string]string{"id": strconv.Itoa(k.account())}
		if k.IntN(2) == 0 {
			m["status"] = []string{"pending", "paid", "shipped", "delivered"}[k.IntN(4)]
		}
		return m
	}},
}

func limit(k *keys) map[string]string {
	return map[string]string{"limit": []string{"5", "10", "20", "50"}[k.IntN(4)]}
}

func recentOrder(k *keys) int { return marketOrders - int(k.recent.Uint64()) }

// askFor makes the request of one answer.
func askFor(f *query.File, values map[string]string) *ask {
	rest := url.Values{}
	path := f.Route.Path
	for name, value := range values {
		if segment := "{" + name + "}"; strings.Contains(path, segment) {
			path = strings.Replace(path, segment, url.PathEscape(value), 1)
		} else {
			rest.Set(name, value)
		}
	}
	if len(rest) > 0 {
		path += "?" + rest.Encode() // in alphabetical order, the canonical one
	}
	return &ask{endpoint: f.Name, path: path, request: request(path, ""), args: arguments(f, values)}
}

// drawAnswers draws so many different answers of every shape, or as many as there
// are of it.
func drawAnswers(files map[string]*query.File, k *keys, each int) []*ask {
	var out []*ask
	for i := range shapes {
		var paths []string
		for range 50 * each {
			a := askFor(files[shapes[i].name], shapes[i].values(k))
			if slices.Contains(paths, a.path) {
				continue
			}
			paths = append(paths, a.path)
			out = append(out, a)
			if len(paths) == each {
				break
			}
		}
	}
	return out
}
