-- Fills the shop with 60 accounts, 6,000 users, 36,000 orders with 90,000
-- lines, and their history. Everything follows from the row's number.
--
-- Account n has the id aaaaaaaa-0000-4000-8000- followed by n in 12 digits,
-- user n the id bbbbbbbb-0000-4000-8000- likewise; orders are numbered from 1.

-- step: 60 accounts
INSERT INTO accounts (id, name, plan, country, settings, active, created_at)
SELECT ('aaaaaaaa-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
       (ARRAY['Acorn', 'Birch', 'Cedar', 'Dogwood', 'Elm', 'Fir', 'Ginkgo', 'Hazel', 'Ironwood', 'Juniper'])[1 + n % 10]
         || ' ' || (ARRAY['Trading', 'Supplies', 'Works', 'Foods', 'Books', 'Tools'])[1 + (n - 1) / 10],
       (ARRAY['free', 'team', 'team', 'enterprise'])[1 + n % 4],
       (ARRAY['DE', 'FR', 'NL', 'PT', 'SE', 'PL', 'IT'])[1 + n % 7],
       jsonb_build_object('theme', (ARRAY['light', 'dark'])[1 + n % 2], 'seats', 5 * (1 + n % 12)),
       n % 19 <> 0,
       timestamptz '2023-01-01 00:00+00' + n * interval '9 days 5 hours'
FROM generate_series(1, 60) n;

-- step: 6,000 users
INSERT INTO users (id, account_id, email, name, roles, active, profile, created_at)
SELECT ('bbbbbbbb-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
       ('aaaaaaaa-0000-4000-8000-' || lpad((1 + n % 60)::text, 12, '0'))::uuid,
       lower(first) || '.' || lower(last) || n || '@example.com',
       first || ' ' || last,
       CASE WHEN n % 97 = 0 THEN '{owner,admin}' WHEN n % 11 = 0 THEN '{admin}' WHEN n % 3 = 0 THEN '{buyer,viewer}' ELSE '{buyer}' END::text[],
       n % 23 <> 0,
       jsonb_build_object('locale', (ARRAY['de', 'fr', 'en', 'pt'])[1 + n % 4], 'newsletter', n % 5 = 0),
       timestamptz '2023-06-01 00:00+00' + n * interval '2 hours 11 minutes'
FROM generate_series(1, 6000) n,
LATERAL (SELECT
  (ARRAY['Ada', 'Bruno', 'Carla', 'Dario', 'Edith', 'Felix', 'Greta', 'Hugo', 'Ines', 'Jonas', 'Klara', 'Luis', 'Mara', 'Nils', 'Olga', 'Paul'])[1 + n * 7 % 16] AS first,
  (ARRAY['Abel', 'Baum', 'Costa', 'Dias', 'Engel', 'Fuchs', 'Gil', 'Horn', 'Iglesias', 'Jansen', 'Keller', 'Lang', 'Moreau'])[1 + n * 5 % 13] AS last) names;

-- step: 90,000 order lines
INSERT INTO order_lines (order_id, line, sku, quantity, unit_price)
SELECT n, line, 'SKU-' || lpad((1 + item)::text, 3, '0'), 1 + (n * 3 + line * 5) % 7, 1.95 + item * 0.75
FROM generate_series(1, 36000) n, generate_series(1, 1 + n % 4) line,
LATERAL (SELECT (n * 31 + line * 17) % 200 AS item) items;

-- step: 36,000 orders
INSERT INTO orders (id, account_id, user_id, status, currency, total, express, tags, shipping, note, placed_at, updated_at)
SELECT n,
       ('aaaaaaaa-0000-4000-8000-' || lpad((1 + buyer % 60)::text, 12, '0'))::uuid,
       ('bbbbbbbb-0000-4000-8000-' || lpad(buyer::text, 12, '0'))::uuid,
       CASE WHEN n % 29 = 0 THEN 'cancelled'
            WHEN n <= 33000 THEN 'delivered'
            ELSE (ARRAY['pending', 'paid', 'shipped', 'delivered'])[1 + n % 4] END::order_status,
       (ARRAY['EUR', 'EUR', 'EUR', 'SEK', 'PLN'])[1 + n % 5],
       lines.total,
       n % 9 = 0,
       CASE WHEN n % 50 = 0 THEN '{gift,priority}' WHEN n % 10 = 0 THEN '{gift}' ELSE '{}' END::text[],
       jsonb_build_object('city', (ARRAY['Berlin', 'Lyon', 'Utrecht', 'Porto', 'Lund'])[1 + n % 5], 'floor', n % 12),
       CASE WHEN n % 13 = 0 THEN 'leave it with the neighbour' END,
       placed, placed + interval '3 hours'
FROM generate_series(1, 36000) n
JOIN (SELECT order_id, sum(quantity * unit_price) AS total FROM order_lines GROUP BY order_id) lines ON lines.order_id = n,
LATERAL (SELECT 1 + n * 1237 % 6000 AS buyer, timestamptz '2025-01-01 00:00+00' + n * interval '14 minutes' AS placed) l;

-- step: 72,000 events
INSERT INTO order_events (order_id, at, status)
SELECT id, placed_at, 'pending' FROM orders
UNION ALL
SELECT id, updated_at, status FROM orders WHERE status <> 'pending';

-- step: indexes and keys
SELECT setval(pg_get_serial_sequence('orders', 'id'), 36000);
ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email);
CREATE INDEX users_account_id_idx ON users (account_id, name text_pattern_ops);
CREATE INDEX orders_account_id_idx ON orders (account_id, placed_at DESC, id DESC);
CREATE INDEX orders_user_id_idx ON orders (user_id);
CREATE INDEX orders_open_idx ON orders (account_id) WHERE status = 'pending';
CREATE INDEX order_lines_sku_idx ON order_lines (sku);
ALTER TABLE users ADD FOREIGN KEY (account_id) REFERENCES accounts;
ALTER TABLE orders ADD FOREIGN KEY (account_id) REFERENCES accounts, ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE order_lines ADD FOREIGN KEY (order_id) REFERENCES orders;
ANALYZE accounts, users, orders, order_lines, order_events;
