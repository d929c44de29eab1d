-- GET /exists
SELECT id, country FROM author a WHERE EXISTS (SELECT FROM book b WHERE b.author_id = a.id) ORDER BY id
