# Servers for scripts that test a Tidemill binary: sourced, not run. A script that sources this has
#   $work            a temporary folder, removed at its end with everything in it; what was started is stopped
#   skip NAME WHY    says loudly that something is not tested; $skipped lists the names
#   python_packages  $work/venv with these packages from the index that pip is configured with
#   start_tidemill   the binary on a data directory of its own; sets PGHOST, PGPORT, PGUSER, PGDATABASE, HTTPPORT
#   start_postgres   a private PostgreSQL on a free port; sets POSTGRES to its libpq connection string
# shellcheck shell=bash

work=$(mktemp -d)
tidemill= postgres=
skipped=()

finish() {
    if [ -n "$tidemill" ]; then
        kill "$tidemill" 2>/dev/null || true
        wait "$tidemill" 2>/dev/null || true
    fi
    if [ -n "$postgres" ]; then
        as_postgres "$postgres/pg_ctl" -D "$work/postgres" -m immediate stop >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
}
trap finish EXIT

skip() {
    skipped+=("$1")
    printf '!!! SKIPPED %s: %s\n' "$1" "$2"
}

python_packages() {
    python3 -m venv "$work/venv" >"$work/install.log" 2>&1 &&
        "$work/venv/bin/pip" install -q --disable-pip-version-check "$@" >>"$work/install.log" 2>&1
}

# start_tidemill BINARY
start_tidemill() {
    "$1" serve --data-dir "$work/data" --pg-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 \
        >"$work/server.out" 2>"$work/server.log" &
    tidemill=$!
    for _ in $(seq 300); do
        if grep -q ' listens on ' "$work/server.out"; then
            PGPORT=$(sed -n 's/.* listens on 127\.0\.0\.1:\([0-9]*\),.*/\1/p' "$work/server.out")
            HTTPPORT=$(sed -n 's/.*, HTTP on 127\.0\.0\.1:\([0-9]*\),.*/\1/p' "$work/server.out")
            export PGHOST=127.0.0.1 PGPORT PGUSER=tidemill PGDATABASE=tidemill HTTPPORT
            return
        fi
        kill -0 "$tidemill" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/server.log"
    echo "!!! the server did not start"
    exit 1
}

# True if the server still runs and nothing in it panicked.
tidemill_is_well() {
    if ! kill -0 "$tidemill" 2>/dev/null; then
        echo "!!! the server does not run any more"
        tail -50 "$work/server.log"
        return 1
    elif grep -q 'panic' "$work/server.log"; then
        echo "!!! the server panicked"
        grep -A20 'panic' "$work/server.log" | head -50
        return 1
    fi
}

# PostgreSQL does not run as root: then it is Debian's user of that name.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

newest_postgres() {
    find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1
}

# Fails where PostgreSQL cannot be installed.
start_postgres() {
    local bin port
    bin=$(newest_postgres)
    if [ -z "$bin" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "--- PostgreSQL is missing: installing postgresql-15"
        { apt-get update -q && apt-get install -qy --no-install-recommends postgresql-15; } >"$work/apt.log" 2>&1 || true
        bin=$(newest_postgres)
    fi
    [ -n "$bin" ] || return 1
    chmod 711 "$work"
    mkdir "$work/postgres"
    if [ "$(id -u)" -eq 0 ]; then chown postgres "$work/postgres"; fi
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    as_postgres "$bin/initdb" -D "$work/postgres" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$work/initdb.log" 2>&1 &&
        as_postgres "$bin/pg_ctl" -D "$work/postgres" -w -l "$work/postgres/log" -o "-p $port -k '' -h 127.0.0.1 -F -c timezone=UTC -c jit=off" \
            start >>"$work/initdb.log" 2>&1 || { cat "$work/initdb.log"; return 1; }
    postgres=$bin
    export POSTGRES="host=127.0.0.1 port=$port user=postgres dbname=postgres"
}
