# pgcli reads the catalog for completion, then answers what is typed.
set -u
psql -XqAt -c 'CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, $$a$$)' || exit 1
pgcli=$(ls "$WORK"/venv/bin/pgcli)
# Completion is read beside: it must be done before the end.
typed() { printf 'SELECT * FROM t;\n\\d t\n\\dt\n\\l conformance\nSELECT 1/0;\n' && sleep 4 && printf '\\q\n'; }
typed | "$pgcli" --less-chatty 2>&1 | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g' | grep -v -e '^Time' -e '^$' -e 'Version' -e 'Goodbye' -e '>' || true
exit 0
