-- A role for tidemark that can read what the endpoints read, follow the log,
-- and nothing else. Run this once, as a superuser or as the owner of the
-- database and its tables with the CREATEROLE attribute and the right to grant
-- REPLICATION, connected to the database that tidemark follows.
--
-- Put your own names in place of: database shop; tables accounts, users,
-- orders and order_lines, all that endpoints read; the password.
--
-- Afterwards run "tidemark init" as this role: it makes tidemark.token() in its
-- own schema and finds the rest done, but for the definition trigger. Only a
-- superuser can make that: run "tidemark init" once more with a superuser's
-- --database, or do without it, and redefined tables are noticed about a second
-- later.
--
-- Before version 15 every role may create tables in schema public. To take that
-- from this one it must be taken from all:
--   REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE ROLE tidemark LOGIN REPLICATION PASSWORD 'change me';

-- It asks Postgres what a query reads by way of a temporary function.
GRANT CONNECT, TEMP ON DATABASE shop TO tidemark;

-- It computes answers.
GRANT USAGE ON SCHEMA public TO tidemark;
GRANT SELECT ON accounts, users, orders, order_lines TO tidemark;

-- Its own schema, so that it needs no CREATE on the database.
CREATE SCHEMA tidemark AUTHORIZATION tidemark;

-- The whole old row of every update and delete goes into the log. This comes
-- before the publication: Postgres refuses UPDATE and DELETE of a published
-- table that has no replica identity.
ALTER TABLE accounts REPLICA IDENTITY FULL;
ALTER TABLE users REPLICA IDENTITY FULL;
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE order_lines REPLICA IDENTITY FULL;

-- Which tables' changes are sent. It must exist before tidemark first starts,
-- and the owner adds to it when endpoints read a new table.
CREATE PUBLICATION tidemark FOR TABLE accounts, users, orders, order_lines;

-- With permissions (listen.grpc), run "tidemark init" as this role, which makes
-- their tables in its schema, and then, as a superuser:
--   ALTER PUBLICATION tidemark ADD TABLE tidemark.relationships, tidemark.permission_schemas,
--     tidemark.relationship_metadata, tidemark.relationship_counters;

-- Recommended: lets "tidemark doctor" see what other roles' transactions hold
-- up.
GRANT pg_read_all_stats TO tidemark;
