"""psycopg 3: both formats, pipelines, COPY, server cursors, prepared statements, errors."""
import datetime
import decimal
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

connection = psycopg.connect("")
print(connection.info.server_version, connection.info.encoding, connection.info.transaction_status, connection.info.parameter_status("DateStyle"))
connection.execute("CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, day date, ok boolean, raw bytea,"
                   " tags text[], doc jsonb, key uuid, x float8, span interval, clock time, small smallint, big bigint, real4 real)")
row = (1, "one", decimal.Decimal("9.99"), datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc), datetime.date(2024, 2, 29), True,
       b"\x00\xff", ["a", "b,c", None], Jsonb({"a": [1, None]}), uuid.UUID(int=1), 1.5, datetime.timedelta(days=1, seconds=2),
       datetime.time(1, 2, 3), 7, 1 << 40, 2.5)
cursor = connection.execute("INSERT INTO t VALUES (" + ", ".join(["%s"] * len(row)) + ")", row)
print(cursor.rowcount, cursor.statusmessage)
with connection.cursor() as cursor:
    cursor.executemany("INSERT INTO t (id, name) VALUES (%s, %s) RETURNING id", [(2, "b"), (3, None)], returning=True)
    while True:
        print(cursor.fetchall())
        if not cursor.nextset():
            break
connection.commit()
for binary in (False, True):
    with connection.cursor(binary=binary) as cursor:
        cursor.execute("SELECT * FROM t ORDER BY id")
        print([(column.name, column.type_code, column.precision, column.scale, column.internal_size) for column in cursor.description])
        for one in cursor:
            print(one)
        cursor.execute("SELECT %s::int4 + 1, %s::text, %s, %s::numeric, %t, %b", (1, "a", [1, 2], decimal.Decimal("1.50"), "t", 5))
        print(cursor.fetchall(), [column.type_code for column in cursor.description])
for number in range(7):
    print(connection.execute("SELECT name FROM t WHERE id = %s", (number,)).fetchall())
with connection.pipeline():
    cursors = [connection.execute("SELECT %s::int", (number,)) for number in range(5)]
    print([cursor.fetchone() for cursor in cursors])
with connection.cursor() as cursor:
    with cursor.copy("COPY t (id, name, price) FROM STDIN") as copy:
        copy.write_row((10, "ten", decimal.Decimal("1.25")))
        copy.write_row((11, "tab\there", None))
    with cursor.copy("COPY t (id, price) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "numeric"])
        copy.write_row((12, decimal.Decimal("2.50")))
    print(cursor.rowcount)
    with cursor.copy("COPY (SELECT id, name, price FROM t ORDER BY id) TO STDOUT") as copy:
        for one in copy.rows():
            print(one)
    with cursor.copy("COPY (SELECT id, price FROM t WHERE id > 9 ORDER BY id) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "numeric"])
        print(list(copy.rows()))
with connection.cursor("named", row_factory=dict_row) as cursor:
    cursor.itersize = 2
    cursor.execute("SELECT id, name FROM t ORDER BY id")
    print(list(cursor))
with connection.cursor("scroller", scrollable=True) as cursor:
    cursor.execute("SELECT id FROM t ORDER BY id")
    cursor.scroll(2)
    print(cursor.fetchone())
    cursor.scroll(0, mode="absolute")
    print(cursor.fetchmany(2))
connection.commit()
for statement in ("SELECT 1/0", "SELECT * FROM nowhere", "SELECT nothing FROM t", "INSERT INTO t (id) VALUES (1)", "SELEC", "SELECT 'a'::int",
                  "SELECT 1; SELECT 2", "UPDATE t SET id = 1", "SELECT $1", "SELECT sum(name) FROM t", "SELECT lower(1)", "SELECT date '2024-02-30'"):
    try:
        with connection.transaction():
            cursor = connection.execute(statement, () if "$1" in statement else None)
            print(cursor.fetchall())
    except psycopg.Error as error:
        print(type(error).__name__, error.sqlstate, error.diag.message_primary, error.diag.message_detail, error.diag.statement_position)
with connection.transaction():
    connection.execute("INSERT INTO t (id) VALUES (20)")
    try:
        with connection.transaction():
            connection.execute("INSERT INTO t (id) VALUES (21)")
            raise psycopg.Rollback()
    except psycopg.Rollback:
        pass
print(connection.execute("SELECT count(*) FROM t WHERE id >= 20").fetchone())
connection.commit()
connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
connection.read_only = True
print(connection.execute("SHOW transaction_isolation").fetchone(), connection.execute("SHOW transaction_read_only").fetchone())
connection.rollback()
connection.read_only = None
connection.autocommit = True
print(connection.execute(sql.SQL("SELECT {}, {}").format(sql.Literal("a'b"), sql.Literal([1, 2]))).fetchall())
for name in ("int4", "text", "jsonb", "numeric", "_int4", "timestamptz", "uuid"):
    info = psycopg.types.TypeInfo.fetch(connection, name)
    print(name, info and (info.oid, info.array_oid, info.regtype, info.delimiter))
connection.close()
