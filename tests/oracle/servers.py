"""The two servers, and whether they answered the same."""
import math
import os

import psycopg

FLOATS = (700, 701)
NUMERIC = 1700


class Answer:
    """What a server sent: types by their names' oids, rows as text, or an error."""

    def __init__(self, rows=None, types=None, error=None):
        self.rows, self.types, self.error = rows, types, error


class Server:
    def __init__(self, conninfo=""):
        self.connection = psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.RawCursor)
        self.connection.prepare_threshold = None
        self.run("SET timezone = 'UTC'")

    def run(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    def ask(self, sql, parameters=()):
        """Parameters make a prepared statement; those given as text have the type that the statement gives them."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, parameters or None, prepare=bool(parameters))
                result = cursor.pgresult
                columns = range(result.nfields)
                text = lambda value: None if value is None else value.decode()
                rows = [tuple(text(result.get_value(row, column)) for column in columns) for row in range(result.ntuples)]
                return Answer(rows, [result.ftype(column) for column in columns])
        except psycopg.Error as error:
            if self.connection.broken:
                raise
            return Answer(error=f"{error.sqlstate}: {error}")


def both():
    """(Tidemill, PostgreSQL) as servers.sh started them."""
    return Server(), Server(os.environ["POSTGRES"])


def same(left, right, is_float):
    if left == right or left is None or right is None or not is_float:
        return left == right
    return math.isclose(float(left), float(right), rel_tol=1e-9, abs_tol=1e-9)


def plain(value, kind):
    """A number without zeros at its end: values of one column share a scale here, where PostgreSQL's have their own."""
    return value.rstrip("0").rstrip(".") if kind == NUMERIC and value and "." in value else value


def sorting_key(row):
    return [(value is None, value or "") for value in row]


def difference(got, wanted, typed=True):
    """None, or where two answers differ, in words. The order of rows does not count; floats may differ in the last digits."""
    if got.error or wanted.error:
        return None if got.error and wanted.error else f"Tidemill: {got.error or got.rows[:3]}\nPostgreSQL: {wanted.error or wanted.rows[:3]}"
    if typed and got.types != wanted.types:
        return f"types {got.types} instead of {wanted.types}"
    for answer in (got, wanted):
        answer.rows = [tuple(plain(value, kind) for value, kind in zip(row, wanted.types)) for row in answer.rows]
    is_float = [kind in FLOATS for kind in wanted.types]
    # Floats last: what they are sorted by may differ.
    exact = lambda row: [value for value, flag in zip(row, is_float) if not flag] + [value for value, flag in zip(row, is_float) if flag]
    rows, others = (sorted(answer.rows, key=lambda row: sorting_key(exact(row))) for answer in (got, wanted))
    for row, other in zip(rows, others):
        if not all(map(same, row, other, is_float)):
            return f"got      {row}\nexpected {other}"
    if len(rows) != len(others):
        longer = rows if len(rows) > len(others) else others
        extra = longer[min(len(rows), len(others))]
        return f"{len(rows)} rows instead of {len(others)}; the first of the others is {extra}"
    return None
