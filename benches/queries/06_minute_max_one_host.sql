SELECT date_trunc('minute', ts) AS minute, max(usage_user) FROM cpu WHERE hostname = 'host_249' AND ts >= timestamp '{middle}' AND ts < timestamp '{middle}' + interval '1 hour' GROUP BY 1 ORDER BY 1
