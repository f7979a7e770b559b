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
    '\dn+' '\dT' '\dx' '\db' '\ds' '\dS pg_class' '\conninfo' '\encoding' '\dt psql_check.*' '\df upper' '\sv cheap' '\l+' '\dv+' '\di+' '\df+' '\du+' \
    '\dp things' '\z' '\dT+' '\dTS' '\do' '\doS =' '\db+' '\dc' '\dcS' '\dC' '\dC+' '\dD' '\dDS+' '\dF' '\dFd' '\dFp' \
    '\dFt' '\dg' '\dm' '\ds+' '\dy' '\des' '\det' '\deu' '\dew' '\dE' '\ddp' '\drds' '\sv+ cheap' '\sf upper(text)' '\dL' \
    '\dL+' '\dd' '\ddS' '\dA' '\dA+' '\dAc' '\dAf' '\dAo' '\dAp' '\dP' '\dRp' '\dRs' '\dX' '\dO' '\da' '\daS' '\dconfig' \
    '\dconfig+ *' '\dnS+' '\dfS+ now' '\d pg_class' '\d+ pg_tables' '\d information_schema.tables' '\d *' '\dt *.*'; do
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
printf '4\tfour\t\\N\t1.5\n' >"$dir/in.txt"
ask -c "\\copy things FROM '$dir/in.txt'"
ask -c "\\copy things TO '$dir/out.bin' (FORMAT binary)" -c 'TRUNCATE things' -c "\\copy things FROM '$dir/out.bin' (FORMAT binary)"
expect '4|21.50' ask -c 'SELECT count(*), sum(price) FROM things'
expect 'four' ask -f - <<<'SELECT name AS found FROM things WHERE id = 4 \gset
\echo :found'
expect $'one|x|\ntwo||x' ask -f - <<<"SELECT name, id, 'x' FROM things WHERE id < 3 ORDER BY id \\crosstabview"
expect $'1\n1' bash -c "printf 'SELECT 1 \\\\watch 0.01\n' | timeout 5 psql -XqAt | grep -m2 '^1'"
psql -X -c '\timing on' -c 'SELECT 1' | grep -q '^Time: ' || { echo '\timing shows no time'; exit 1; }
expect $'a|integer\nb|text' ask -f - <<<"SELECT 1 AS a, 'x'::text AS b \\gdesc"
# FETCH_COUNT uses a cursor.
expect '1000' bash -c "printf '\\\\set FETCH_COUNT 100\nSELECT * FROM generate_series(1, 1000);\n' | psql -XqAt | wc -l | tr -d ' '"
expect $'id|1\nname|one' ask -x -c 'SELECT id, name FROM things WHERE id = 1'
# \gdesc describes without running.
expect $'id|integer\nname|character varying(20)' bash -c "printf 'SELECT id, name FROM things \\\\gdesc\n' | psql -XqAt"
ask -c 'DROP SCHEMA psql_check CASCADE' 2>/dev/null
echo "psql: fine"
