"""What may differ from PostgreSQL, and why. Entries that meet nothing are errors: the list can only shrink."""
import re


class Expected:
    """Differences of a kind, in scenarios and statements whose names and texts match."""

    def __init__(self, reason, kind, scenario=".*", sql="", right=""):
        self.reason, self.scenario, self.sql = reason, scenario, sql
        self.kinds, self.right = kind.split("|"), right

    def allows(self, difference):
        return (difference.kind in self.kinds and re.fullmatch(self.scenario, difference.scenario) is not None
                and re.search(self.sql, " ".join(difference.sql.split())) is not None
                and re.search(self.right, str(difference.right), re.S) is not None)


TYPES = "pg_type has the types that exist: no row types of system relations, no domains of information_schema"
SCHEMA = "the schema tidemill and its tables and functions are there beside PostgreSQL's"
DATABASES = "the first database is called tidemill, and there are no templates"

COUNTED = "rows are counted, not estimated by ANALYZE"
CLOCK = "each run has its own times"

DIFFERENCES = [
    Expected("version() names the server; it begins as PostgreSQL's does", "rows", sql=r"^select (pg_catalog\.)?version\(\);?$|^SELECT version\(\)",
             right="Tidemill"),
    Expected(SCHEMA, "rows|tag", "psql.describe", r'^SELECT n.nspname AS "Name", pg_catalog.pg_get_userbyid\(n.nspowner\)'),
    Expected(SCHEMA, "rows|tag", "sqlalchemy.reflection", r"^SELECT pg_catalog.pg_namespace.nspname FROM pg_catalog.pg_namespace WHERE"),
    # What pgcli reads to complete names: all there is.
    Expected(SCHEMA, "rows|tag", "pgcli.session", r"^SELECT nspname FROM pg_catalog.pg_namespace ORDER BY 1"),
    Expected(SCHEMA, "rows|tag", "pgcli.session", r"^SELECT n.nspname schema_name, c.relname table_name FROM pg_catalog.pg_class c"),
    Expected(SCHEMA, "rows|tag", "pgcli.session", r"^SELECT n.nspname schema_name, p.proname func_name"),
    Expected(TYPES, "rows|tag", "pgcli.session", r"^SELECT nsp.nspname schema_name, cls.relname table_name, att.attname column_name"),
    Expected(TYPES, "rows|tag", "sequelize.*", r"^WITH ranges AS \( SELECT pg_range.rngtypid"),
    Expected(TYPES, "rows|tag", "postgres.js.basics", r"^select b.oid, b.typarray from pg_catalog.pg_type a"),
    Expected(SCHEMA, "rows|tag", "kysely.builder", r'^select "a"."attname" as "column"'),
    Expected(TYPES, "rows|tag", "ActiveRecord.models", r"^SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput"),
    Expected(TYPES, "rows|tag", "PDO.basics", r"^select oid,typname from pg_type"),
    Expected(COUNTED, "rows", "DBD-Pg.basics", r'd.reltuples AS "CARDINALITY"'),
    Expected(CLOCK, "rows", "django.models", r'FROM "django_migrations"'),
    Expected(CLOCK, "rows", "ActiveRecord.models", r'FROM "ar_internal_metadata"'),
    Expected("LIMIT without ORDER BY takes any row", "rows", "django.models", r'^SELECT \* FROM "shop_(book|label_books)" LIMIT 1'),
    Expected(DATABASES, "rows|tag", "pgcli.session", r"^SELECT d.datname as name|^SELECT d.datname FROM pg_catalog.pg_database d"),
    Expected(DATABASES, "rows|tag", "psql.*", r'^SELECT d.datname as "Name"'),
    Expected("pg_opclass has those of the types and access methods that exist", "rows|tag", "sqlalchemy.*|pandas.frames",
             r"FROM pg_catalog.pg_opclass WHERE NOT pg_catalog.pg_opclass.opcdefault"),
    Expected("views show the query as it was written, PostgreSQL its parse tree in its own layout", "rows", sql=r"pg_get_viewdef"),
    Expected("CHECK shows the condition as it was written, PostgreSQL with the casts that it added", "rows",
             sql=r"pg_get_constraintdef", right="CHECK"),
    Expected("foreign keys are declarations that nobody enforces, and say so", "rows", "sqlalchemy.keys|typeorm.entities", sql=r"pg_get_constraintdef",
             right="NOT VALID"),
    Expected("array_agg without an order has rows as they come", "rows", "sequelize.keys", r"array_agg\(a\.attnum\) as column_indexes"),
    Expected("EXPLAIN shows the plan of another executor", "rows|tag", sql=r"^EXPLAIN"),
    Expected("built-in types have no descriptions", "rows", "psql.describe", r"obj_description\(t.oid, 'pg_type'\)"),
    Expected("there are no range types, and no functions of theirs", "rows|tag", "psql.describe",
             r'p.proname as "Name", pg_catalog.pg_get_function_result.*p.proname OPERATOR.pg_catalog.~. .*(upper|lower)'),
    Expected("there is no type aclitem: lists of privileges are arrays of text", "columns", "pgjdbc.driver", r"c\.relacl"),
    Expected("not yet: numeric without a declared scale does not keep trailing zeros of parameters", "rows", "psycopg.basics",
             r"^SELECT \$1::int4 \+ 1, \$2::text, \$3, \$4::numeric"),
    Expected("there is no text search", "rows|tag", "psql.describe", r"FROM pg_catalog.pg_ts_config"),
]
