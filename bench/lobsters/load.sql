-- 3,000 users, 10,000 stories, 60,000 comments, 150,000 votes; everything follows
-- from the row's number. Later stories have more of both.
CREATE FUNCTION mix(n bigint, salt int, below int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT ((hashint8(n * 31 + salt)::bigint & 2147483647) % below)::int $$;

INSERT INTO settled VALUES (1);

INSERT INTO users
SELECT n, 'user' || n, repeat('about ' || n || ' ', 8), mix(n, 1, 3000), timestamptz '2024-01-01 00:00+00' + n * interval '3 hours'
FROM generate_series(1, 3000) n;

INSERT INTO stories
SELECT n, 1 + mix(n, 2, 3000), 'Story ' || n || ' about ' || (ARRAY['Postgres','caches','Go','logs','queues'])[1 + mix(n, 3, 5)],
       'https://example.com/' || n, 1 + mix(n, 4, 40), 0, 0, timestamptz '2025-01-01 00:00+00' + n * interval '50 minutes'
FROM generate_series(1, 10000) n;

INSERT INTO comments
SELECT n, s, 1 + mix(n, 6, 3000), NULL, repeat('what ' || n || ' says of it ', 10), 1 + mix(n, 7, 9),
       timestamptz '2025-01-01 00:00+00' + n * interval '8 minutes'
FROM (SELECT n, greatest(1, least(10000, n / 6 - mix(n, 5, 40))) AS s FROM generate_series(1, 60000) n) c;
UPDATE stories s SET comments = (SELECT count(*) FROM comments WHERE story_id = s.id),
                     hotness = log(score) + extract(epoch FROM created_at) / 79200;

INSERT INTO votes
SELECT DISTINCT 1 + mix(n, 8, 3000), 1 + mix(n, 9, 10000) FROM generate_series(1, 150000) n;
