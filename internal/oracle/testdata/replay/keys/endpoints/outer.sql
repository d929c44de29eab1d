-- GET /outer/{country}
SELECT a.id, b.title FROM author a LEFT JOIN book b ON b.author_id = a.id WHERE a.country = :country ORDER BY a.id, b.id
