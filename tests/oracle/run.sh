#!/usr/bin/env bash
# Random questions about time, asked of Tidemill and, in other words, of PostgreSQL: both must answer the same.
#   tests/oracle/run.sh [BINARY] [KIND…]        default: target/debug/tidemill, all kinds that are about time
#   tests/oracle/run.sh BINARY queries          random queries of any shape
#   TIDEMILL_ORACLE_CASES=2000                  how many cases of each kind
#   TIDEMILL_ORACLE_SEED=42                     repeats a run; it is printed
#   TIDEMILL_ORACLE_CASE=17                     only this case of the run
# Without PostgreSQL or psycopg it is skipped, loudly.
set -euo pipefail
binary=$(realpath "${1:-$(dirname "$0")/../../target/debug/tidemill}")
shift || true
cd "$(dirname "$0")"
. ../support/servers.sh

if ! start_postgres; then
    skip oracle "PostgreSQL is not installed and cannot be"
elif ! python_packages 'psycopg[binary]>=3.2' tzdata; then
    tail -3 "$work/install.log"
    skip oracle "pip cannot install psycopg here"
else
    start_tidemill "$binary"
    "$work/venv/bin/python" main.py "$@"
    tidemill_is_well
fi
