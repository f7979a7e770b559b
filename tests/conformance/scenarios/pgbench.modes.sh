# pgbench with its own tables, in each protocol mode. Speeds are not compared.
set -eu
pgbench -i -q -s 1 -I dtGvp 2>&1 | sed 's/in [0-9.]* s.*/in N s/; s/[0-9.]* s\b/N s/g; s/ of .*tuples.*//' | grep -v 'elapsed' || true
psql -XqAt -c 'SELECT count(*), sum(abalance) FROM pgbench_accounts' -c 'SELECT count(*) FROM pgbench_tellers'
for mode in simple extended prepared; do
    pgbench -n -M $mode -c 1 -t 20 --random-seed=7 2>&1 | grep -E 'transactions actually|failed|query mode'
    pgbench -n -M $mode -S -c 1 -t 20 --random-seed=7 2>&1 | grep -E 'transactions actually|failed'
    pgbench -n -M $mode -N -c 1 -t 20 --random-seed=7 2>&1 | grep -E 'transactions actually|failed'
done
psql -XqAt -c 'SELECT count(*), sum(delta) FROM pgbench_history' -c 'SELECT sum(abalance) FROM pgbench_accounts' -c 'SELECT sum(tbalance) FROM pgbench_tellers'
