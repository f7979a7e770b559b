#!/usr/bin/env bash
# What wears a server out: random queries, and a thousand clients behind a pooler.
#   tests/robustness/run.sh [BINARY]        default: target/debug/tidemill
# SMITH_SECONDS (60): how long sqlsmith asks. POOL_SECONDS (10): how long each mode of pgbench runs behind pgbouncer.
# Debian's sqlsmith, pgbouncer and pgbench; what cannot be installed is skipped, loudly.
set -euo pipefail
binary=$(realpath "${1:-$(dirname "$0")/../../target/debug/tidemill}")
cd "$(dirname "$0")"
. ../support/servers.sh
failed=0

debian() {
    command -v "$1" >/dev/null || apt-get install -qy --no-install-recommends "$1" >"$work/install.log" 2>&1
}

if ! command -v psql >/dev/null; then
    skip robustness "psql is missing"
    exit 0
fi
start_tidemill "$binary"
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

# Every error must be one that the statement deserves: nothing internal, no panic, no session that ends, and statements stop when
# their time is over.
smith() {
    local seconds=${SMITH_SECONDS:-60} code=0
    if ! debian sqlsmith; then
        skip sqlsmith "it cannot be installed here"
        return
    fi
    sql <<'SQL'
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, name varchar(40) NOT NULL, at timestamptz DEFAULT now(), tags text[]);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer int, amount numeric(10,2), day date, doc jsonb, ok boolean, x float8, raw bytea, key uuid);
INSERT INTO shop.customers SELECT g, 'name ' || g, '2024-01-01'::timestamptz + g * interval '1 hour', ARRAY['a', 'b' || g] FROM generate_series(1, 100) g;
INSERT INTO shop.orders SELECT g, g % 100, g * 1.25, '2024-01-01'::date + g % 50, jsonb_build_object('n', g), g % 2 = 0, g / 3.0, '\x00ff', gen_random_uuid()
    FROM generate_series(1, 1000) g;
CREATE VIEW shop.totals AS SELECT customer, sum(amount) AS total, count(*) AS n FROM shop.orders GROUP BY customer;
CREATE ROLE smith SUPERUSER LOGIN;
ALTER ROLE smith SET statement_timeout = '5s';
SQL
    # sqlsmith writes a dot, or a letter for an error, per statement, and the errors it met with how often.
    timeout --signal=INT "$seconds" sqlsmith --verbose --target="host=127.0.0.1 port=$PGPORT user=smith dbname=$PGDATABASE" \
        >"$work/smith.out" 2>"$work/smith.err" || code=$?
    # 124: its time is over. Anything else: it lost the server.
    if [ "$code" -ne 124 ] && [ "$code" -ne 0 ]; then
        echo "!!! sqlsmith ended with $code"
        tail -5 "$work/smith.err"
        failed=1
    fi
    local left
    sleep 6
    left=$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE usename = 'smith' AND state = 'active'")
    if [ "$left" != 0 ]; then
        echo "!!! $left statements of sqlsmith run on after their time"
        failed=1
    fi
    if grep -q 'internal error' "$work/server.log"; then
        echo "!!! internal errors:"
        grep 'internal error' "$work/server.log" | sed 's/.*error=//' | cut -c1-200 | sort | uniq -c | sort -rn | head -20
        failed=1
    fi
    echo "sqlsmith: $(grep -ao '[.eSC]' "$work/smith.err" | wc -l) statements in $seconds s"
}

# A thousand connections of clients on forty of the server's, each transaction on whichever is free.
pooled() {
    local pgbench mode
    pgbench=$(command -v pgbench || find /usr/lib/postgresql -name pgbench 2>/dev/null | sort -V | tail -1)
    if [ -z "$pgbench" ] || ! debian pgbouncer; then
        skip pgbouncer "pgbench or pgbouncer cannot be installed here"
        return
    fi
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    # With auth_type = any a database says who its user is.
    cat >"$work/pgbouncer.ini" <<INI
[databases]
$PGDATABASE = host=127.0.0.1 port=$PGPORT user=$PGUSER
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 1100
default_pool_size = 40
ignore_startup_parameters = extra_float_digits
INI
    chmod 755 "$work"
    chmod 644 "$work/pgbouncer.ini"
    ulimit -n 8192
    local as=()
    if [ "$(id -u)" -eq 0 ]; then as=(runuser -u nobody --); fi
    "${as[@]}" "$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" "$work/pgbouncer.ini" >"$work/pgbouncer.log" 2>&1 &
    local bouncer=$!
    for _ in $(seq 50); do
        psql -XqAt -p "$port" -c 'SELECT 1' >/dev/null 2>&1 && break
        sleep 0.1
    done
    "$pgbench" -q -i -I dtg -s 1 >/dev/null 2>&1
    for mode in simple extended; do
        if "$pgbench" -p "$port" -n -S -M "$mode" -c 1000 -j 2 -T "${POOL_SECONDS:-10}" >"$work/pgbench.$mode" 2>&1 &&
            grep -q 'number of failed transactions: 0 ' "$work/pgbench.$mode"; then
            echo "pgbouncer, 1,000 clients, $mode: $(sed -n 's/^number of transactions actually processed: //p' "$work/pgbench.$mode") transactions"
        else
            echo "!!! pgbench -M $mode behind pgbouncer:"
            tail -20 "$work/pgbench.$mode"
            failed=1
        fi
    done
    kill "$bouncer" 2>/dev/null || true
    wait "$bouncer" 2>/dev/null || true
}

pooled
smith
tidemill_is_well || failed=1
exit $failed
