#!/usr/bin/env bash
# Real clients against a real server: connect, types both ways, reflection; other programs reading our tables;
# and servers that ours reads from.
#   tests/clients/run.sh [BINARY]        default: target/debug/tidemill
# Clients are installed into a temporary folder from the package indexes that pip, npm and mvn are configured with. One that
# cannot be installed is skipped, loudly; one that is installed must pass.
set -euo pipefail
binary=$(realpath "${1:-$(dirname "$0")/../../target/debug/tidemill}")
cd "$(dirname "$0")"
. ../support/servers.sh
passed=() failed=()

check() {
    local name=$1
    shift
    printf '\n--- %s\n' "$name"
    if timeout 300 "$@"; then passed+=("$name"); else
        failed+=("$name")
        printf '!!! FAILED %s\n' "$name"
    fi
}

start_tidemill "$binary"

if command -v psql >/dev/null; then check psql ./psql.sh; else skip psql "not installed"; fi

if python_packages 'psycopg[binary]' asyncpg sqlalchemy; then
    check psycopg "$work/venv/bin/python" psycopg_check.py
    check asyncpg "$work/venv/bin/python" asyncpg_check.py
    check sqlalchemy "$work/venv/bin/python" sqlalchemy_check.py
else
    tail -3 "$work/install.log"
    skip "psycopg, asyncpg, sqlalchemy" "pip cannot install them here"
fi

if [ -x "$work/venv/bin/python" ] && python_packages influxdb-client influxdb; then
    check influxdb "$work/venv/bin/python" influxdb_check.py "$HTTPPORT"
else
    skip "influxdb-client, influxdb" "pip cannot install them here"
fi

if [ -x "$work/venv/bin/python" ] && python_packages confluent-kafka; then
    check confluent-kafka "$work/venv/bin/python" kafka_check.py
else
    skip confluent-kafka "pip cannot install it here"
fi

if [ -x "$work/venv/bin/python" ] && python_packages 'moto[server]' boto3; then
    check "object storage" "$work/venv/bin/python" objects_check.py "$binary"
else
    skip "object storage" "pip cannot install moto and boto3 here"
fi

if command -v npm >/dev/null && cp node_check.mjs "$work/" &&
    (cd "$work" && npm install --no-audit --no-fund --silent pg >install.log 2>&1); then
    check node-postgres node "$work/node_check.mjs"
else
    skip node-postgres "npm cannot install it here"
fi

# Azurite, which is Azure's object storage for tests.
azurite() {
    (cd "$work" && timeout 200 npm install --no-audit --no-fund --silent azurite >>install.log 2>&1) || return 1
    "$work/node_modules/.bin/azurite-blob" --blobHost 127.0.0.1 --blobPort 0 --inMemoryPersistence --silent \
        --skipApiVersionCheck --disableTelemetry >"$work/azurite.log" 2>&1 &
    azurite_pid=$!
    trap 'kill "$azurite_pid" 2>/dev/null || true; finish' EXIT
    for _ in $(seq 100); do
        azurite_port=$(sed -n 's/.*listens on http:..127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/azurite.log")
        if [ -n "$azurite_port" ]; then return; fi
        sleep 0.2
    done
    return 1
}

if command -v npm >/dev/null && [ -x "$work/venv/bin/python" ] && python_packages azure-storage-blob && azurite; then
    check azurite "$work/venv/bin/python" azure_check.py "$azurite_port"
    kill "$azurite_pid"
else
    skip azurite "npm and pip cannot install it here"
fi

# pgjdbc from Maven, else from the distribution.
jdbc_driver() {
    local wanted=org.postgresql:postgresql:42.7.4
    mkdir "$work/jar"
    if command -v mvn >/dev/null && (cd "$work" &&
        timeout 180 mvn -q -B dependency:get -Dartifact=$wanted >install.log 2>&1 &&
        timeout 180 mvn -q -B dependency:copy -Dartifact=$wanted -DoutputDirectory="$work/jar" >>install.log 2>&1); then
        return
    fi
    if [ -e /usr/share/java/postgresql.jar ]; then
        cp /usr/share/java/postgresql.jar "$work/jar/"
    elif command -v apt-get >/dev/null && (cd "$work" && apt-get download libpostgresql-jdbc-java >>install.log 2>&1); then
        dpkg -x "$work"/libpostgresql-jdbc-java*.deb "$work/deb" && cp "$work/deb/usr/share/java/postgresql.jar" "$work/jar/"
    else
        return 1
    fi
}

if command -v javac >/dev/null && jdbc_driver && javac -d "$work/java" PgJdbcCheck.java; then
    check pgjdbc java -cp "$work/java:$(echo "$work"/jar/*.jar)" PgJdbcCheck
else
    skip pgjdbc "neither Maven nor the distribution can install it here"
fi

if [ -x "$work/venv/bin/python" ] && python_packages deltalake pyarrow; then
    check pyarrow "$work/venv/bin/python" arrow_check.py "$HTTPPORT"
    "$work/venv/bin/pip" install -q --disable-pip-version-check duckdb polars >>"$work/install.log" 2>&1 || true
    check "delta readers" "$work/venv/bin/python" delta_readers.py "$work/data"
else
    skip "delta readers, pyarrow" "pip cannot install them here"
fi

tidemill_is_well || failed+=("server well")
printf '\nclients: %d passed (%s), %d skipped (%s), %d failed (%s)\n' \
    "${#passed[@]}" "${passed[*]-}" "${#skipped[@]}" "${skipped[*]-}" "${#failed[@]}" "${failed[*]-}"
[ "${#failed[@]}" -eq 0 ]
