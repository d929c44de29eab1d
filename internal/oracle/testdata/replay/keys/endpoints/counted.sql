-- GET /counted/{country}
SELECT a.id, (SELECT count(*) FROM book b WHERE b.author_id = a.id) AS n FROM author a WHERE a.country = :country ORDER BY a.id
