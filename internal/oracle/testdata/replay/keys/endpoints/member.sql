-- GET /member/{country}
SELECT id, title FROM book WHERE author_id IN (SELECT id FROM author WHERE country = :country) ORDER BY id
