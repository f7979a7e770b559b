#!/usr/bin/env bash
# Stock clients against PostgreSQL and a Tidemill binary, compared on the wire (main.py says how).
#   tests/conformance/run.sh [BINARY] [--suites] [--only SCENARIO,...] [--results FILE] [--update-readme]
# The default binary is target/debug/tidemill.
# --suites runs the drivers' own test suites instead (suites.py).
# Clients are installed into a temporary folder ($CONFORMANCE_CLIENTS: into that one, and kept) from the indexes that pip, npm and
# Debian's apt are configured with. One that cannot be installed is skipped, loudly.
set -euo pipefail
binary=$(dirname "$0")/../../target/debug/tidemill
case ${1:-} in '' | --*) ;; *) binary=$1 && shift ;; esac
binary=$(realpath "$binary")
cd "$(dirname "$0")"
program=main.py
if [ "${1:-}" = --suites ]; then program=suites.py && shift; fi
. ../support/servers.sh

clients=${CONFORMANCE_CLIENTS:-$work/clients}
mkdir -p "$clients/java"
log=$clients/install.log
versions=$clients/versions
: >"$log"
: >"$versions"

# version CLIENT TEXT: it is installed
version() { printf '%s\t%s\n' "$1" "$2" >>"$versions"; }

debian() {
    local package
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || apt-get install -qy --no-install-recommends "$package" >>"$log" 2>&1 || return 1
    done
}

if command -v psql >/dev/null; then version psql "$(psql --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')"; fi
pgbench=$(command -v pgbench || find /usr/lib/postgresql -name pgbench 2>/dev/null | sort -V | tail -1)
if [ -n "$pgbench" ]; then
    PATH=$PATH:$(dirname "$pgbench")
    version pgbench "$(pgbench --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')"
fi

[ -x "$clients/venv/bin/python" ] || python3 -m venv "$clients/venv" >>"$log" 2>&1 || true
pip="$clients/venv/bin/pip --disable-pip-version-check"
# One by one: what one cannot have, the others may.
for package in psycopg2-binary 'psycopg[binary]' asyncpg pg8000 sqlalchemy pandas pgcli pyodbc django; do
    name=${package%[*}
    $pip show -q "$name" >/dev/null 2>&1 || $pip install -q "$package" >>"$log" 2>&1 || continue
    found=$($pip show "$name" 2>/dev/null | sed -n 's/^Version: //p')
    case $name in
    psycopg2-binary) version psycopg2 "$found" ;;
    pyodbc)
        if debian odbc-postgresql unixodbc libltdl7; then
            version psqlodbc "$(dpkg-query -W -f '${Version}' odbc-postgresql | sed 's/^1://; s/-.*//')"
        fi
        ;;
    *) version "$name" "$found" ;;
    esac
done

for package in pg postgres knex sequelize reflect-metadata typeorm pg-cursor kysely drizzle-orm; do
    command -v npm >/dev/null || break
    if [ ! -d "$clients/node_modules/$package" ]; then
        (cd "$clients" && npm install --no-audit --no-fund --silent "$package" >>"$log" 2>&1) || continue
    fi
    found=$(sed -n 's/^ *"version": "\(.*\)",*$/\1/p' "$clients/node_modules/$package/package.json" | head -1)
    case $package in
    pg) version node-postgres "$found" ;;
    postgres) version postgres.js "$found" ;;
    # What others need.
    reflect-metadata | pg-cursor) ;;
    *) version "$package" "$found" ;;
    esac
done

# Perl's, PHP's and Ruby's as Debian has them.
packaged() { dpkg-query -W -f '${Version}' "$1" | sed 's/^[0-9]*://; s/[-+~].*//'; }
if debian perl libdbd-pg-perl; then version DBD-Pg "$(packaged libdbd-pg-perl)"; fi
if debian php-cli php-pgsql; then version PDO "$(php -r 'echo PHP_VERSION;')"; fi
if debian ruby ruby-pg ruby-activerecord; then version ActiveRecord "$(packaged ruby-activerecord)"; fi

# pgjdbc as Debian has it.
if command -v javac >/dev/null; then
    if [ ! -e "$clients/java/postgresql.jar" ]; then
        if [ -e /usr/share/java/postgresql.jar ]; then
            cp /usr/share/java/postgresql.jar "$clients/java/"
        elif (cd "$clients" && apt-get download libpostgresql-jdbc-java >>"$log" 2>&1); then
            dpkg -x "$clients"/libpostgresql-jdbc-java*.deb "$clients/deb"
            cp "$clients/deb/usr/share/java/postgresql.jar" "$clients/java/"
        fi
    fi
    if [ -e "$clients/java/postgresql.jar" ]; then
        version pgjdbc "$(unzip -p "$clients/java/postgresql.jar" META-INF/MANIFEST.MF | tr -d '\r' |
            sed -n 's/^Implementation-Version: //p')"
    fi
fi

# Rust's: a package of their own, which is no part of the server's build.
if command -v cargo >/dev/null; then
    mkdir -p "$clients/rust/src/bin"
    cat >"$clients/rust/Cargo.toml" <<'TOML'
[package]
name = "clients"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
bytes = "1"
chrono = "0.4"
futures = "0.3"
serde_json = "1"
sqlx = { version = "0.8", default-features = false, features = ["bigdecimal", "chrono", "derive", "json", "migrate", "postgres", "runtime-tokio", "uuid"] }
tokio = { version = "1", features = ["macros", "net", "rt", "sync", "time"] }
tokio-postgres = { version = "0.7", features = ["with-chrono-0_4", "with-serde_json-1", "with-uuid-1"] }
uuid = "1"
TOML
    for client in tokio-postgres sqlx; do cp "scenarios/$client.basics.rs" "$clients/rust/src/bin/$client.rs"; done
    if cargo build --quiet --manifest-path "$clients/rust/Cargo.toml" --target-dir "$clients/rust/target" >>"$log" 2>&1; then
        for client in tokio-postgres sqlx; do
            version "$client" "$(grep -A1 "^name = \"$client\"" "$clients/rust/Cargo.lock" | sed -n 's/^version = "\(.*\)"/\1/p')"
        done
    fi
fi

python3 - "$versions" "$clients/clients.json" <<'PY'
import json, sys
with open(sys.argv[1]) as lines, open(sys.argv[2], "w") as out:
    json.dump(dict(line.rstrip("\n").split("\t") for line in lines), out, indent=1)
PY

if [ "$program" = suites.py ]; then
    # What the suites themselves import.
    $pip install -q pytest pytest-timeout pytest-mock pytest-benchmark pytz python-dateutil distro >>"$log" 2>&1 ||
        { skip "the drivers' suites" "pytest cannot be installed here" && exit 0; }
fi

if ! command -v psql >/dev/null || ! start_postgres; then
    skip conformance "PostgreSQL cannot be installed here"
    exit 0
fi
start_tidemill "$binary"
# shellcheck disable=SC2086
oracle=$(python3 -c 'import sys; f = dict(part.split("=", 1) for part in sys.argv[1].split()); print(":".join((f["host"], f["port"], f["user"], f["dbname"])))' "$POSTGRES")
code=0
env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE python3 "$program" --postgres "$oracle" \
    --tidemill "127.0.0.1:$PGPORT:tidemill:tidemill" --work "$clients" "$@" || code=1
tidemill_is_well || code=1
exit $code
