SELECT hostname, avg(usage_user), max(usage_user) FROM cpu GROUP BY hostname ORDER BY hostname
