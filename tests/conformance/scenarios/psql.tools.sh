# \copy, \watch, \gdesc, \timing, \gset, \gexec, \crosstabview, \bind-like variables, formats, errors, transactions.
set -u
printf 'id,name,price\n1,one,9.99\n2,two,\n3,"a, ""b""",0.01\n' >in.csv
printf '4\tfour\\ttab\t\\N\n5\tback\\\\slash\t1.5\n' >in.txt
psql -X -v ON_ERROR_STOP=0 <<'SQL' 2>&1
\set VERBOSITY verbose
\pset null '(null)'
CREATE TABLE things (id int, name text, price numeric(8,2));
\copy things FROM 'in.csv' (FORMAT csv, HEADER)
\copy things FROM 'in.txt'
SELECT * FROM things ORDER BY id;
\copy (SELECT id, name, price FROM things ORDER BY id) TO 'out.csv' (FORMAT csv, HEADER, FORCE_QUOTE (name))
\! cat out.csv
\copy (SELECT * FROM things ORDER BY id) TO STDOUT
COPY (SELECT 1, 'a;b', NULL) TO STDOUT (FORMAT csv, DELIMITER ';', NULL 'nil');
SELECT id, name, price, price * 2 AS twice, now() AS n, '{1,2}'::int[] AS a, 'x'::varchar(10) AS v FROM things \gdesc
SELECT count(*) AS how_many, max(price) AS most FROM things \gset
\echo :how_many :most
SELECT format('SELECT %L AS %I', name, 'col ' || id) FROM things WHERE id < 3 ORDER BY id \gexec
SELECT id % 2 AS odd, name, price FROM things WHERE id < 4 ORDER BY 1, 2 \crosstabview
\x
SELECT * FROM things WHERE id = 4;
\x
\pset format unaligned
SELECT * FROM things ORDER BY id DESC LIMIT 2;
\pset format html
SELECT 1 AS "<a>";
\pset format aligned
SELECT * FROM nowhere;
SELECT nothing FROM things;
SELECT 1/0;
SELEC 1;
SELECT 'x'::int;
INSERT INTO things VALUES (1, 2);
INSERT INTO things VALUES (1, 'a', 'x');
SELECT foo(1);
SELECT id FROM things GROUP BY name;
SELECT * FROM things WHERE id = 'x';
BEGIN;
INSERT INTO things VALUES (9, 'nine', 9);
SAVEPOINT a;
SELECT 1/0;
SELECT 1;
ROLLBACK TO a;
SELECT count(*) FROM things;
COMMIT;
COMMIT;
ROLLBACK;
BEGIN;
BEGIN;
ABORT;
\set AUTOCOMMIT off
INSERT INTO things VALUES (10, 'ten', 10);
\echo :LAST_ERROR_SQLSTATE :ROW_COUNT :ERROR
ROLLBACK;
\set AUTOCOMMIT on
\set FETCH_COUNT 2
SELECT * FROM things ORDER BY id;
\unset FETCH_COUNT
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
SELECT count(*) FROM things;
COMMIT;
PREPARE q (int) AS SELECT name FROM things WHERE id = $1;
EXECUTE q (1);
DEALLOCATE q;
EXECUTE q (1);
EXPLAIN SELECT 1;
\if :{?how_many}
\echo known
\endif
SELECT 1 AS one \; SELECT 2 AS two;
SHOW server_version_num;
SHOW search_path;
SET search_path = nothing, public;
SHOW search_path;
RESET search_path;
SHOW nothing;
SET nothing = 1;
SET datestyle = 'german';
SELECT date '2024-02-03', timestamp '2024-02-03 04:05:06.5';
RESET datestyle;
SET timezone = 'Europe/Berlin';
SELECT timestamptz '2024-07-01 12:00+00';
SHOW timezone;
SELECT current_user, current_database(), current_schema, session_user;
UPDATE things SET price = 1 WHERE id = 1 RETURNING id, price;
DELETE FROM things WHERE id > 4;
TRUNCATE things;
DROP TABLE things;
DROP TABLE things;
DROP TABLE IF EXISTS things;
SQL
psql -X -c '\timing on' -c 'SELECT 1' | sed 's/[0-9.]* ms/N ms/'
psql -X -c '\watch' >/dev/null 2>&1
printf 'SELECT 5 AS five \\watch 0.1\n' | timeout 1 psql -X -At | head -2 | grep -c 5
psql -X -1 -v ON_ERROR_STOP=1 -c 'CREATE TABLE one (a int)' -c 'INSERT INTO one VALUES (1), (2)' -c 'SELECT sum(a) FROM one'
psql -X -1 -v ON_ERROR_STOP=1 -c 'INSERT INTO one VALUES (3)' -c 'SELECT 1/0' 2>&1
psql -X -At -c 'SELECT count(*) FROM one'
psql -X --csv -c 'SELECT a, a * 2 AS b FROM one ORDER BY a'
psql -X -l | grep -c conformance
exit 0
