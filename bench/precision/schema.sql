-- A shop with what surrounds its orders: a catalogue with stock and reviews,
-- carts, organisations that buy together, people who follow each other.

CREATE TABLE categories (
  id        bigint PRIMARY KEY,
  parent_id bigint REFERENCES categories,
  name      text NOT NULL
);

CREATE TABLE products (
  id          bigint PRIMARY KEY,
  category_id bigint NOT NULL REFERENCES categories,
  sku         text NOT NULL UNIQUE,
  name        text COLLATE "C" NOT NULL,
  price       numeric(10,2) NOT NULL,
  active      boolean NOT NULL,
  rating      numeric(3,2), -- of the approved reviews
  tags        text[] NOT NULL,
  attributes  jsonb NOT NULL,
  views       bigint NOT NULL DEFAULT 0,
  updated_at  timestamptz NOT NULL
);
CREATE INDEX ON products (category_id, price, id);
CREATE INDEX ON products (name, id);
CREATE INDEX ON products ((attributes ->> 'brand'));
CREATE INDEX ON products USING gin (tags);

CREATE TABLE inventory (
  product_id   bigint NOT NULL,
  warehouse_id integer NOT NULL,
  quantity     integer NOT NULL,
  reserved     integer NOT NULL DEFAULT 0,
  updated_at   timestamptz NOT NULL,
  PRIMARY KEY (product_id, warehouse_id)
);

CREATE TABLE users (
  id         bigint PRIMARY KEY,
  email      text NOT NULL UNIQUE,
  name       text NOT NULL,
  country    text NOT NULL,
  profile    jsonb NOT NULL,
  last_seen  timestamptz NOT NULL,
  created_at timestamptz NOT NULL
);

CREATE TABLE addresses (
  id      bigint PRIMARY KEY,
  user_id bigint NOT NULL,
  kind    text NOT NULL,
  street  text NOT NULL,
  city    text NOT NULL
);
CREATE INDEX ON addresses (user_id);

CREATE TABLE accounts (
  id   bigint PRIMARY KEY,
  name text NOT NULL,
  plan text NOT NULL
);

CREATE TABLE memberships (
  account_id bigint NOT NULL,
  user_id    bigint NOT NULL,
  role       text NOT NULL,
  PRIMARY KEY (account_id, user_id)
);

CREATE TABLE orders (
  id         bigint PRIMARY KEY,
  account_id bigint NOT NULL,
  user_id    bigint NOT NULL,
  status     text NOT NULL, -- pending, paid, shipped, delivered, cancelled
  total      numeric(12,2) NOT NULL,
  express    boolean NOT NULL,
  coupon     text,
  note       text,
  placed_at  timestamptz NOT NULL,
  shipped_at timestamptz,
  updated_at timestamptz NOT NULL
);
CREATE INDEX ON orders (user_id, placed_at DESC, id DESC);
CREATE INDEX ON orders (account_id, placed_at DESC, id DESC);
CREATE INDEX ON orders (placed_at DESC, id DESC);

CREATE TABLE order_lines (
  order_id   bigint NOT NULL,
  line       integer NOT NULL,
  product_id bigint NOT NULL,
  quantity   integer NOT NULL,
  unit_price numeric(10,2) NOT NULL,
  PRIMARY KEY (order_id, line)
);
CREATE INDEX ON order_lines (product_id);

CREATE TABLE reviews (
  id         bigint PRIMARY KEY,
  product_id bigint NOT NULL,
  user_id    bigint, -- none: of somebody who has left
  stars      integer NOT NULL,
  title      text NOT NULL,
  approved   boolean NOT NULL,
  helpful    integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL
);
CREATE INDEX ON reviews (product_id, created_at DESC, id DESC);
CREATE INDEX ON reviews (user_id, created_at DESC, id DESC);
CREATE INDEX ON reviews (created_at DESC, id DESC);

CREATE TABLE carts (
  id         bigint PRIMARY KEY, -- that of its user; guests have others
  updated_at timestamptz NOT NULL
);

CREATE TABLE cart_items (
  cart_id    bigint NOT NULL,
  product_id bigint NOT NULL,
  quantity   integer NOT NULL,
  added_at   timestamptz NOT NULL,
  PRIMARY KEY (cart_id, product_id)
);

CREATE TABLE follows (
  follower_id bigint NOT NULL,
  followee_id bigint NOT NULL,
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX ON follows (followee_id);

CREATE TABLE coupons (
  code    text PRIMARY KEY,
  percent integer NOT NULL,
  active  boolean NOT NULL,
  uses    integer NOT NULL DEFAULT 0
);

CREATE VIEW product_stock AS
SELECT product_id, sum(quantity) AS quantity, count(*) FILTER (WHERE quantity > 0) AS warehouses
FROM inventory
GROUP BY product_id;

-- Never written: reading it waits for the log and costs nothing.
CREATE TABLE settled (id integer PRIMARY KEY);
