#!/usr/bin/env bash
# The statements of DataFusion's sqllogictest files, asked of PostgreSQL and Tidemill (engine.py says how).
#   tests/oracle/engine.sh [BINARY] [FILE…]        default: target/debug/tidemill, all files; a part of a name is enough
# The files come with the package datafusion-sqllogictest, of the version of DataFusion that Cargo.lock names. About five minutes.
# Without PostgreSQL or the package it is skipped, loudly.
set -euo pipefail
binary=$(realpath "${1:-$(dirname "$0")/../../target/debug/tidemill}")
shift || true
cd "$(dirname "$0")"
. ../support/servers.sh

version=$(grep -A1 '^name = "datafusion"$' ../../Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
mkdir -p "$work/engine/src"
echo 'fn main() {}' >"$work/engine/src/main.rs"
cat >"$work/engine/Cargo.toml" <<TOML
[package]
name = "engine"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
datafusion-sqllogictest = { version = "=$version", default-features = false }
TOML
files=$(cargo metadata --format-version 1 --manifest-path "$work/engine/Cargo.toml" 2>"$work/engine/log" | python3 -c '
import json, pathlib, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "datafusion-sqllogictest":
        print(pathlib.Path(package["manifest_path"]).parent / "test_files")' || true)

if [ -z "$files" ] || [ ! -d "$files" ]; then
    tail -3 "$work/engine/log"
    skip engine "the package datafusion-sqllogictest $version cannot be had here"
elif ! start_postgres; then
    skip engine "PostgreSQL is not installed and cannot be"
else
    start_tidemill "$binary"
    server=$(sed 's/.*host=\([^ ]*\).*/\1/' <<<"$POSTGRES"):$(sed 's/.*port=\([^ ]*\).*/\1/' <<<"$POSTGRES")
    python3 engine.py "$server" "127.0.0.1:$PGPORT" "$files" "$@"
    tidemill_is_well
fi
