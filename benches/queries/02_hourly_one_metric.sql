SELECT date_trunc('hour', ts) AS hour, hostname, avg(usage_user) FROM cpu WHERE ts >= timestamp '{middle}' AND ts < timestamp '{middle}' + interval '12 hours' GROUP BY 1, 2 ORDER BY 1, 2
