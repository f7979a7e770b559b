SELECT date_trunc('minute', ts) AS minute, max(usage_user) FROM cpu WHERE ts < timestamp '{middle}' GROUP BY 1 ORDER BY 1 DESC LIMIT 5
