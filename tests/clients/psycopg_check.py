"""psycopg 3: types in text and binary, transactions, COPY, cursors, pipelines, errors."""
import datetime as dt
import decimal
import uuid

import psycopg
from psycopg.types.json import Jsonb

VALUES = [
    ("bool", True), ("int2", 32767), ("int4", -2147483648), ("int8", 2**63 - 1), ("float8", 0.1), ("float4", 1.5),
    ("numeric(20,5)", decimal.Decimal("12345.67890")), ("text", "naïve 東京 🚀 \\ ' \" \t\n"), ("varchar(5)", "abc"),
    ("bytea", b"\x00\xff\\x"), ("date", dt.date(2024, 2, 29)), ("time", dt.time(23, 59, 59, 999999)),
    ("timestamp", dt.datetime(2024, 2, 29, 1, 2, 3, 456789)),
    ("timestamptz", dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=dt.timezone.utc)),
    ("interval", dt.timedelta(days=3, seconds=7, microseconds=5)),
    ("uuid", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ("int4[]", [1, None, 3]), ("text[]", ["a b", "", None, 'q"']), ("float8[]", []),
]


def types(connection):
    for binary in (False, True):
        for number, (name, value) in enumerate(VALUES):
            with connection.cursor(binary=binary) as cursor:
                # A name of its own: cached plans must not change their result type.
                table = f"psycopg_types_{number}_{binary}"
                cursor.execute(f"CREATE TEMP TABLE {table} (v {name})")
                cursor.execute(f"INSERT INTO {table} VALUES (%s)", (value,))
                cursor.execute(f"INSERT INTO {table} VALUES (NULL)")
                cursor.execute(f"SELECT v FROM {table} WHERE v IS NOT NULL UNION ALL SELECT v FROM {table} WHERE v IS NULL")
                rows = [row[0] for row in cursor.fetchall()]
                assert rows == [value, None], f"{name}, binary={binary}: {rows!r} is not {value!r}"
                cursor.execute(f"DROP TABLE {table}")
        with connection.cursor(binary=binary) as cursor:
            document = {"a": [1, None, {"b": "x"}], "c": 1.5}
            cursor.execute("SELECT %s::jsonb, %s::jsonb ->> 'c'", (Jsonb(document), Jsonb(document)))
            assert cursor.fetchone() == (document, "1.5")


def main():
    with psycopg.connect(autocommit=True) as connection:
        types(connection)
        cursor = connection.cursor()
        cursor.execute("DROP TABLE IF EXISTS psycopg_check")
        cursor.execute("CREATE TABLE psycopg_check (id int, name text)")
        with cursor.copy("COPY psycopg_check FROM STDIN") as copy:
            for number in range(1000):
                copy.write_row((number, f"name {number}"))
        with cursor.copy("COPY psycopg_check FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((1000, None))
        assert cursor.execute("SELECT count(*), max(id), count(name) FROM psycopg_check").fetchone() == (1001, 1000, 1000)
        with cursor.copy("COPY (SELECT * FROM psycopg_check WHERE id < 3 ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(0, "name 0"), (1, "name 1"), (2, "name 2")]

        with connection.transaction():
            with connection.cursor(name="server_side") as named:
                named.itersize = 100
                named.execute("SELECT id FROM psycopg_check ORDER BY id")
                assert [row[0] for row in named] == list(range(1001))

        try:
            with connection.transaction():
                cursor.execute("INSERT INTO psycopg_check VALUES (5000, 'x')")
                raise RuntimeError("roll back")
        except RuntimeError:
            pass
        assert cursor.execute("SELECT count(*) FROM psycopg_check WHERE id = 5000").fetchone() == (0,)

        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int * 2", (n,)) for n in range(50)]
        assert [c.fetchone()[0] for c in cursors] == [n * 2 for n in range(50)]

        # Prepared on the server, executed many times.
        for n in range(20):
            assert cursor.execute("SELECT name FROM psycopg_check WHERE id = %s", (n,), prepare=True).fetchone() == (f"name {n}",)
        cursor.executemany("INSERT INTO psycopg_check VALUES (%s, %s)", [(n, None) for n in range(2000, 2010)])
        assert cursor.execute("DELETE FROM psycopg_check WHERE id >= 2000").rowcount == 10

        for sql, error in (("SELECT * FROM nowhere", psycopg.errors.UndefinedTable), ("SELEC", psycopg.errors.SyntaxError),
                           ("SELECT 1/0", psycopg.errors.DivisionByZero), ("SELECT 'x'::int", psycopg.errors.InvalidTextRepresentation)):
            try:
                cursor.execute(sql)
                raise AssertionError(f"{sql} succeeded")
            except error:
                pass
        cursor.execute("DROP TABLE psycopg_check")
    print("psycopg", psycopg.__version__, "fine")


main()
