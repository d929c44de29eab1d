-- The tables of a small application. What they say about who may do what is in
-- mapping.yaml.
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE team_members (team text, user_id int REFERENCES users, PRIMARY KEY (team, user_id));
CREATE TABLE folders (id int PRIMARY KEY, name text NOT NULL, parent_id int REFERENCES folders, owner_id int NOT NULL REFERENCES users);
CREATE TABLE documents (
  id int PRIMARY KEY,
  title text NOT NULL,
  folder_id int NOT NULL REFERENCES folders,
  author_id int NOT NULL REFERENCES users,
  public boolean NOT NULL DEFAULT false,
  deleted_at timestamptz
);
CREATE TABLE shares (
  document_id int REFERENCES documents,
  user_id int REFERENCES users,
  until timestamptz,
  PRIMARY KEY (document_id, user_id)
);
INSERT INTO users VALUES (1, 'ana@example.org'), (2, 'ben@example.org'), (3, 'cem@example.org'), (4, 'dan@example.org');
INSERT INTO team_members VALUES ('design', 2), ('design', 3);
INSERT INTO folders VALUES (1, 'company', NULL, 1), (2, 'plans', 1, 2);
INSERT INTO documents VALUES (1, 'Handbook', 1, 1, true, NULL), (2, 'Roadmap', 2, 3, false, NULL), (3, 'Old plan', 2, 3, false, '2026-01-01');
INSERT INTO shares VALUES (1, 3, NULL), (2, 4, '2099-01-01');
