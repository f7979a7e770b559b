# psql's \d family, on a schema with something of each kind.
set -u
psql -XqAt -v ON_ERROR_STOP=1 <<'SQL' || exit 1
CREATE SCHEMA sales;
CREATE TABLE sales.customers (id int PRIMARY KEY, name varchar(40) NOT NULL, joined timestamptz DEFAULT now(), vip boolean DEFAULT false);
CREATE TABLE sales.orders (id bigint PRIMARY KEY, customer_id int NOT NULL, amount numeric(10,2) CHECK (amount >= 0),
    tags text[], note jsonb, at timestamp(3) with time zone, CONSTRAINT later CHECK (id > 0));
CREATE VIEW sales.totals AS SELECT customer_id, sum(amount) AS total FROM sales.orders GROUP BY customer_id;
COMMENT ON TABLE sales.orders IS 'orders of customers';
COMMENT ON COLUMN sales.orders.amount IS 'in euro';
CREATE TABLE plain (a int, b text, c date, d double precision);
SQL
run() { printf '=== %s\n' "$*"; psql -X -v ON_ERROR_STOP=1 -v HIDE_TABLEAM=on "$@" 2>&1; }
for command in '\d' '\dt' '\dt sales.*' '\dv sales.*' '\di sales.*' '\ds' '\dm' '\dE' '\dn' '\dn sales' '\d plain' '\d sales.customers' \
    '\d sales.orders' '\d+ sales.orders' '\d sales.totals' '\d+ sales.totals' '\d sales.orders_pkey' '\sv sales.totals' '\dp sales.*' '\z' '\ddp' \
    '\dD' '\dF simple' '\dd' '\du alice' '\dg alice' '\drds' '\dT sales.*' '\dC nothing' '\dy' '\des' '\dew' '\det' '\deu' '\dP' '\dX' \
    '\dRp' '\dRs' '\dconfig nothing*' '\l conformance' '\d nothing' '\dt nothing.*' '\encoding' '\do sales.*' '\dc sales.*' '\dO sales.*' \
    '\da sales.*' '\df sales.*' '\dt s*.o*' '\d "sales"."orders"' '\dn+ sales' '\dL nothing' '\dx nothing' '\df upper' '\df lower' '\da bool_and' \
    '\dT int4' '\dT+ numeric' '\sf nothing'; do
    run -c "$command"
done
exit 0
