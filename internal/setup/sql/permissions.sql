CREATE TABLE IF NOT EXISTS tidemark.relationships (
  resource_type text NOT NULL,
  resource_id text NOT NULL,
  relation text NOT NULL,
  subject_type text NOT NULL,
  subject_id text NOT NULL,
  subject_relation text NOT NULL DEFAULT '',  -- '' is the subject itself
  caveat text,
  context jsonb CHECK (jsonb_typeof(context) = 'object'),
  expires_at timestamptz,
  CHECK (context IS NULL OR caveat IS NOT NULL),
  PRIMARY KEY (resource_type, resource_id, relation, subject_type, subject_id, subject_relation)
);
ALTER TABLE tidemark.relationships REPLICA IDENTITY FULL;
CREATE INDEX IF NOT EXISTS relationships_subject
  ON tidemark.relationships (subject_type, subject_id, subject_relation, relation, resource_type, resource_id);
CREATE INDEX IF NOT EXISTS relationships_expires ON tidemark.relationships (expires_at) WHERE expires_at IS NOT NULL;
-- The newest row is the schema.
CREATE TABLE IF NOT EXISTS tidemark.permission_schemas (
  version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  definition text NOT NULL,
  written_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE tidemark.permission_schemas REPLICA IDENTITY FULL;
-- What writers said about their transactions, for watchers; only the log is read.
CREATE TABLE IF NOT EXISTS tidemark.relationship_metadata (
  xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
  metadata jsonb NOT NULL
);
ALTER TABLE tidemark.relationship_metadata REPLICA IDENTITY FULL;
CREATE TABLE IF NOT EXISTS tidemark.relationship_counters (
  name text PRIMARY KEY,
  filter jsonb NOT NULL
);
ALTER TABLE tidemark.relationship_counters REPLICA IDENTITY FULL;
