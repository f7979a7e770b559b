"""What may differ from PostgreSQL, and why. Entries that meet nothing are errors: the list can only shrink."""
import re


class Expected:
    """Differences of a kind, in scenarios and statements whose names and texts match."""

    def __init__(self, reason, kind, scenario=".*", sql="", right=""):
        self.reason, self.scenario, self.sql = reason, scenario, sql
        self.kinds, self.right = kind.split("|"), right

    def allows(self, difference):
        return (difference.kind in self.kinds and re.fullmatch(self.scenario, difference.scenario) is not None
                and re.search(self.sql, difference.sql, re.S) is not None
                and re.search(self.right, str(difference.right), re.S) is not None)


DIFFERENCES = [
    Expected("version() names the server; it begins as PostgreSQL's does", "rows", sql=r"version\(\)", right="Tidemill"),
    Expected("the schema tidemill and its tables are there beside PostgreSQL's", "rows|tag", sql=r"pg_namespace", right="'tidemill'|SELECT "),
    Expected("the first database is called tidemill, and there are no templates", "rows|tag", sql=r"FROM pg_catalog.pg_database d", right="tidemill|SELECT 2"),
    Expected("pg_opclass has those of the types and access methods that exist", "rows|tag", sql=r"FROM pg_catalog.pg_opclass"),
    Expected("pg_type has the types that exist: no row types of system relations, no domains of information_schema", "rows|tag",
             sql=r"FROM pg_range LEFT OUTER JOIN pg_type|from pg_catalog.pg_type a left join|information_schema|FROM pg_catalog.pg_attribute att|FROM pg_catalog.pg_proc p"),
    Expected("views show the query as it was written, PostgreSQL its parse tree in its own layout", "rows", sql=r"pg_get_viewdef"),
    Expected("CHECK shows the condition as it was written, PostgreSQL with the casts that it added", "rows", sql=r"pg_get_constraintdef"),
    Expected("EXPLAIN shows the plan of another executor", "rows|tag", sql=r"^EXPLAIN"),
    Expected("built-in types have no descriptions", "rows", sql=r"obj_description\(t.oid, 'pg_type'\)"),
    Expected("there is no text search", "rows|tag", sql=r"pg_ts_config"),
]
