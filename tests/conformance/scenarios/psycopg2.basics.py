"""psycopg2: types both ways, cursors, COPY, errors, transactions."""
import datetime
import decimal
import io
import json
import uuid

import psycopg2
import psycopg2.extras
from psycopg2 import errors, sql

connection = psycopg2.connect("")
print(connection.server_version, connection.encoding, connection.get_transaction_status())
cursor = connection.cursor()
cursor.execute("CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, day date, ok boolean, raw bytea,"
               " tags text[], doc jsonb, key uuid, x float8, span interval)")
psycopg2.extras.register_uuid()
rows = [
    (1, "one", decimal.Decimal("9.99"), datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc), datetime.date(2024, 2, 29), True,
     b"\x00\xff", ["a", "b,c", None], json.dumps({"a": [1, None]}), uuid.UUID(int=1), 1.5, datetime.timedelta(days=1, seconds=2)),
    (2, "zwei ' \" \\ ü", None, None, None, None, None, [], None, None, float("nan"), None),
]
for one in rows:
    cursor.execute("INSERT INTO t VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", one)
    print(cursor.rowcount, cursor.statusmessage)
connection.commit()
cursor.execute("SELECT * FROM t ORDER BY id")
for column in cursor.description:
    print(column.name, column.type_code, column.internal_size, column.precision, column.scale)
for one in cursor:
    print([bytes(value) if isinstance(value, memoryview) else value for value in one])
psycopg2.extras.execute_values(cursor, "INSERT INTO t (id, name) VALUES %s RETURNING id", [(3, "c"), (4, "d")])
print(cursor.fetchall())
psycopg2.extras.execute_batch(cursor, "UPDATE t SET name = %s WHERE id = %s", [("C", 3), ("D", 4)])
cursor.execute(sql.SQL("SELECT {} FROM {} WHERE id = ANY(%s) ORDER BY 1").format(sql.Identifier("name"), sql.Identifier("t")), ([3, 4],))
print(cursor.fetchall())
cursor.copy_expert("COPY t (id, name) FROM STDIN WITH CSV", io.StringIO("5,five\n6,\"s,x\"\n"))
print(cursor.rowcount)
out = io.StringIO()
cursor.copy_expert("COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT", out)
print(out.getvalue())
cursor.copy_from(io.StringIO("7\tseven\n8\t\\N\n"), "t", columns=("id", "name"))
connection.commit()
named = connection.cursor("named", cursor_factory=psycopg2.extras.DictCursor)
named.itersize = 2
named.execute("SELECT id, name FROM t ORDER BY id")
print([dict(one) for one in named])
named.close()
scroll = connection.cursor("scroller", scrollable=True)
scroll.execute("SELECT id FROM t ORDER BY id")
scroll.scroll(3)
print(scroll.fetchone())
scroll.scroll(-2)
print(scroll.fetchone())
scroll.close()
connection.rollback()
for statement in ("SELECT 1/0", "SELECT * FROM nowhere", "SELECT nothing FROM t", "INSERT INTO t (id) VALUES (1)", "SELEC", "SELECT 'a'::int",
                  "SELECT 99999999999::int", "INSERT INTO t VALUES (9, 'x', 1e20)", "SELECT foo()", "DROP TABLE nowhere", "SELECT 1 FROM t GROUP BY 2"):
    try:
        cursor.execute(statement)
    except psycopg2.Error as error:
        print(type(error).__name__, error.pgcode, error.diag.severity, error.diag.message_primary, error.diag.statement_position)
    try:
        cursor.execute("SELECT 1")
    except errors.InFailedSqlTransaction as error:
        print(error.pgcode)
    connection.rollback()
connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
try:
    cursor.execute("DELETE FROM t")
except psycopg2.Error as error:
    print(error.pgcode, error)
connection.rollback()
connection.set_session(isolation_level="DEFAULT", readonly=False, autocommit=True)
cursor.execute("SHOW transaction_isolation")
print(cursor.fetchall())
cursor.execute("SELECT %s, %s, %s", ("a", 1, 1.5))
print(cursor.fetchall(), [column.type_code for column in cursor.description])
cursor.callproc("lower", ["ABC"])
print(cursor.fetchall())
cursor.execute("SELECT array_agg(id ORDER BY id), sum(price), avg(id), count(*), min(day), max(at) FROM t")
print(cursor.fetchall())
cursor.execute("DROP TABLE t")
connection.close()
