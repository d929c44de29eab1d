-- GET /titles
SELECT DISTINCT title FROM book ORDER BY title
