#!/usr/bin/env bash
# psql: its backslash commands, COPY from and to files, variables, errors.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ask() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
expect() {
    local expected=$1 answer
    shift
    answer=$("$@")
    if [ "$answer" != "$expected" ]; then
        printf 'asked: %s\nexpected:\n%s\ngot:\n%s\n' "$*" "$expected" "$answer"
        exit 1
    fi
}

ask <<'SQL'
DROP SCHEMA IF EXISTS psql_check CASCADE;
CREATE SCHEMA psql_check;
SET search_path = psql_check;
CREATE TABLE things (id int NOT NULL, name varchar(20) DEFAULT 'x', at timestamptz, price numeric(8,2) CHECK (price > 0));
COMMENT ON TABLE things IS 'some things';
CREATE VIEW cheap AS SELECT id, name FROM things WHERE price < 10;
SQL

export PGOPTIONS='-c search_path=psql_check,public'
for command in '\d' '\dt' '\dv' '\di' '\dn' '\df' '\du' '\l' '\dp' '\d things' '\d+ things' '\d cheap' '\d+ cheap' '\dt+' \
    '\dn+' '\dT' '\dx' '\db' '\ds' '\dS pg_class' '\conninfo' '\encoding' '\dt psql_check.*' '\df upper' '\sv cheap' '\l+'; do
    if ! output=$(psql -X -v ON_ERROR_STOP=1 -c "$command" 2>&1) || grep -q 'ERROR' <<<"$output"; then
        printf '%s failed:\n%s\n' "$command" "$output"
        exit 1
    fi
done
psql -X -c '\d things' | grep -q 'character varying(20)' || { echo '\d things does not show varchar(20)'; exit 1; }
psql -X -c '\d things' | grep -q "not null" || { echo '\d things does not show not null'; exit 1; }
psql -X -c '\dt' | grep -q 'things .*table .*tidemill' || { echo '\dt does not list things'; exit 1; }

printf 'id,name,at,price\n1,one,2024-01-01 00:00:00+00,9.99\n2,two,,10\n3,"a, b",2024-06-01 12:00:00+02,0.01\n' >"$dir/in.csv"
ask -c "\\copy things FROM '$dir/in.csv' (FORMAT csv, HEADER)"
expect '3|20.00' ask -c 'SELECT count(*), sum(price) FROM things'
ask -c "\\copy (SELECT id, name FROM things ORDER BY id) TO '$dir/out.csv' (FORMAT csv)"
expect $'1,one\n2,two\n3,"a, b"' cat "$dir/out.csv"
expect '42P01' bash -c "psql -XqAt -v VERBOSITY=sqlstate -c 'SELECT * FROM nowhere' 2>&1 | sed 's/.*: *//'"
expect $'1\n2' ask -v limit=2 -f - <<<'SELECT id FROM things ORDER BY id LIMIT :limit'
# FETCH_COUNT uses a cursor.
expect '1000' bash -c "printf '\\\\set FETCH_COUNT 100\nSELECT * FROM generate_series(1, 1000);\n' | psql -XqAt | wc -l | tr -d ' '"
expect $'id|1\nname|one' ask -x -c 'SELECT id, name FROM things WHERE id = 1'
# \gdesc describes without running.
expect $'id|integer\nname|character varying(20)' bash -c "printf 'SELECT id, name FROM things \\\\gdesc\n' | psql -XqAt"
ask -c 'DROP SCHEMA psql_check CASCADE' 2>/dev/null
echo "psql: fine"
