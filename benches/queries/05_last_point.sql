SELECT DISTINCT ON (hostname) hostname, ts, usage_user FROM cpu ORDER BY hostname, ts DESC
