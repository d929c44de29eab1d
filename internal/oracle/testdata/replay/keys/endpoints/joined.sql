-- GET /joined/{country}
SELECT a.id, b.id AS book, b.title FROM author a JOIN book b ON b.author_id = a.id WHERE a.country = :country ORDER BY b.id
