SELECT count(*), min(ts), max(ts) FROM cpu
