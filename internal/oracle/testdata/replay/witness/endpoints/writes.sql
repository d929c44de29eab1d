-- GET /writes/{country}
SELECT id FROM author WHERE country = :country AND id IN (SELECT author_id FROM book) ORDER BY id
