-- Stories that people submit, vote for and discuss. load.sql fills it.

CREATE TABLE users (
  id         integer PRIMARY KEY,
  name       text NOT NULL UNIQUE,
  about      text NOT NULL,
  karma      integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL
);

CREATE TABLE stories (
  id         integer PRIMARY KEY,
  user_id    integer NOT NULL REFERENCES users,
  title      text NOT NULL,
  url        text NOT NULL,
  score      integer NOT NULL DEFAULT 1,
  comments   integer NOT NULL DEFAULT 0,
  hotness    numeric(12,4) NOT NULL, -- of the score and the time, larger is hotter
  created_at timestamptz NOT NULL
);
CREATE INDEX ON stories (hotness DESC, id DESC);
CREATE INDEX ON stories (user_id, created_at DESC, id DESC);

CREATE TABLE comments (
  id         integer PRIMARY KEY,
  story_id   integer NOT NULL REFERENCES stories,
  user_id    integer NOT NULL REFERENCES users,
  parent_id  integer,
  body       text NOT NULL,
  score      integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);
CREATE INDEX ON comments (story_id, id);
CREATE INDEX ON comments (user_id, created_at DESC, id DESC);
CREATE INDEX ON comments (created_at DESC, id DESC);

CREATE TABLE votes (
  user_id  integer NOT NULL,
  story_id integer NOT NULL,
  PRIMARY KEY (user_id, story_id)
);

-- Never written: reading it waits for the log and costs nothing.
CREATE TABLE settled (id integer PRIMARY KEY);
