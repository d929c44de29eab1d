-- GET /distinct/{country}
SELECT DISTINCT b.title FROM author a JOIN book b ON b.author_id = a.id WHERE a.country = :country ORDER BY 1
