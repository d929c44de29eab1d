-- The same rows every time: everything follows from the row's number. mix is a
-- hash, for numbers that do not go together.
CREATE FUNCTION mix(n bigint, salt int, below int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT ((hashint8(n * 31 + salt)::bigint & 2147483647) % below)::int $$;

INSERT INTO settled VALUES (1);

INSERT INTO categories
SELECT n, CASE WHEN n > 8 THEN 1 + n % 8 END, 'category ' || n FROM generate_series(1, 40) n;

INSERT INTO products
SELECT n, 1 + mix(n, 1, 40), 'SKU-' || lpad(n::text, 5, '0'),
       (ARRAY['Arc','Basic','Cobalt','Delta','Echo','Flint','Grand','Halo','Iris','Jade'])[1 + mix(n, 2, 10)] || ' '
         || (ARRAY['Lamp','Chair','Kettle','Board','Pan','Tent','Watch','Shelf','Bag','Clock'])[1 + mix(n, 3, 10)] || ' ' || n % 50,
       5 + mix(n, 4, 60) * 2.5, mix(n, 5, 20) > 0, NULL,
       ARRAY['tag' || mix(n, 6, 25), 'tag' || 25 + mix(n, 7, 25)],
       jsonb_build_object('brand', 'brand ' || mix(n, 8, 40), 'colour', (ARRAY['red','blue','green'])[1 + mix(n, 9, 3)]),
       mix(n, 10, 5000), timestamptz '2025-06-01 00:00+00' + n * interval '1 minute'
FROM generate_series(1, 600) n;

INSERT INTO inventory
SELECT p, w, mix(p * 4 + w, 11, 80), 0, timestamptz '2026-01-01 00:00+00'
FROM generate_series(1, 600) p, generate_series(1, 4) w;

INSERT INTO users
SELECT n, 'user' || n || '@example.com', 'User ' || n, (ARRAY['DE','FR','NL','PT','SE'])[1 + mix(n, 12, 5)],
       jsonb_build_object('locale', (ARRAY['de','fr','en'])[1 + mix(n, 13, 3)]),
       timestamptz '2026-02-01 00:00+00', timestamptz '2024-01-01 00:00+00' + n * interval '1 hour'
FROM generate_series(1, 3000) n;

INSERT INTO addresses
SELECT n, 1 + mix(n, 14, 3000), (ARRAY['home','work'])[1 + n % 2], 'Street ' || mix(n, 15, 900), 'City ' || mix(n, 16, 80)
FROM generate_series(1, 4500) n;

INSERT INTO accounts
SELECT n, 'Account ' || n, (ARRAY['free','team'])[1 + n % 2] FROM generate_series(1, 150) n;

-- Everybody is in one account, some in a second.
INSERT INTO memberships
SELECT 1 + n % 150, n, CASE WHEN n <= 150 THEN 'owner' ELSE 'buyer' END FROM generate_series(1, 3000) n
UNION ALL SELECT 1 + (n + 7) % 150, n, 'guest' FROM generate_series(3, 3000, 3) n;

INSERT INTO orders
SELECT n, 1 + u % 150, u,
       CASE WHEN n <= 11000 THEN (ARRAY['delivered','delivered','delivered','cancelled'])[1 + mix(n, 17, 4)]
            ELSE (ARRAY['pending','paid','shipped','delivered'])[1 + mix(n, 18, 4)] END,
       0, mix(n, 19, 4) = 0, CASE WHEN mix(n, 20, 10) = 0 THEN 'CODE' || mix(n, 21, 60) END, NULL,
       timestamptz '2025-08-01 00:00+00' + n * interval '25 minutes', NULL, timestamptz '2026-02-28 00:00+00'
FROM (SELECT n, 1 + (mix(n, 22, 3000)::bigint * mix(n, 23, 3000) / 3000) AS u FROM generate_series(1, 12000) n) o;
UPDATE orders SET shipped_at = placed_at + interval '1 day' WHERE status IN ('shipped', 'delivered');

INSERT INTO order_lines
SELECT o, l, p, 1 + mix(o * 5 + l, 25, 4), (SELECT price FROM products WHERE id = p)
FROM (SELECT o, l, 1 + mix(o * 5 + l, 24, 600) AS p
      FROM generate_series(1, 12000) o, generate_series(1, 4) l WHERE l <= 1 + mix(o, 26, 4)) lines;
UPDATE orders o SET total = (SELECT sum(quantity * unit_price) FROM order_lines WHERE order_id = o.id);

INSERT INTO reviews
SELECT n, 1 + mix(n, 27, 600), CASE WHEN mix(n, 28, 30) > 0 THEN 1 + mix(n, 29, 3000) END, 1 + mix(n, 30, 5),
       'Review ' || n, mix(n, 31, 10) > 0, mix(n, 32, 20), timestamptz '2025-08-01 00:00+00' + n * interval '33 minutes'
FROM generate_series(1, 9000) n;
UPDATE products p SET rating = (SELECT round(avg(stars), 2) FROM reviews WHERE product_id = p.id AND approved)
WHERE id % 12 <> 0;

INSERT INTO carts SELECT n, timestamptz '2026-02-20 00:00+00' FROM generate_series(1, 3000) n;
INSERT INTO cart_items
SELECT DISTINCT ON (cart, product) cart, product, 1 + mix(n, 33, 3), timestamptz '2026-02-20 00:00+00' + n * interval '1 second'
FROM (SELECT n, 1 + mix(n, 34, 3000) AS cart, 1 + mix(n, 35, 600) AS product FROM generate_series(1, 6000) n) items
ORDER BY cart, product, n;

INSERT INTO follows
SELECT DISTINCT ON (a, b) a, b, timestamptz '2025-01-01 00:00+00' + n * interval '10 minutes'
FROM (SELECT n, 1 + mix(n, 36, 3000) AS a, 1 + (mix(n, 37, 3000)::bigint * mix(n, 38, 3000) / 3000) AS b FROM generate_series(1, 15000) n) f
WHERE a <> b ORDER BY a, b, n;

INSERT INTO coupons SELECT 'CODE' || n, 5 + n % 20, n % 3 > 0 FROM generate_series(0, 59) n;
