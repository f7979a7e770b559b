"""pg8000: its native and DB-API interfaces."""
import datetime
import decimal
import io
import os
import uuid

import pg8000.dbapi
import pg8000.native

where = {"host": os.environ["PGHOST"], "port": int(os.environ["PGPORT"]), "user": os.environ["PGUSER"],
         "password": os.environ["PGPASSWORD"], "database": os.environ["PGDATABASE"], "ssl_context": False}
connection = pg8000.native.Connection(**where)
connection.run("CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, day date, ok boolean, raw bytea,"
               " tags text[], doc jsonb, key uuid, x float8, span interval)")
connection.run("INSERT INTO t VALUES (:id, :name, :price, :at, :day, :ok, :raw, :tags, :doc, :key, :x, :span)", id=1, name="one",
               price=decimal.Decimal("9.99"), at=datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc), day=datetime.date(2024, 2, 29),
               ok=True, raw=b"\x00\xff", tags=["a", "b,c", None], doc={"a": [1, None]}, key=uuid.UUID(int=1), x=1.5,
               span=datetime.timedelta(days=1, seconds=2))
print(connection.row_count, connection.run("SELECT * FROM t"), [(c["name"], c["type_oid"], c["type_modifier"]) for c in connection.columns])
statement = connection.prepare("SELECT name FROM t WHERE id = :id")
print(statement.run(id=1), statement.run(id=2))
statement.close()
print(connection.run("SELECT array_agg(n) FROM generate_series(1, :top) AS s(n)", top=3))
connection.run("COPY t (id, name) FROM STDIN WITH CSV", stream=io.BytesIO(b"2,two\n3,\n"))
out = io.BytesIO()
connection.run("COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT WITH CSV", stream=out)
print(out.getvalue())
for text in ("SELECT 1/0", "SELECT * FROM nowhere", "SELEC", "INSERT INTO t (id) VALUES (1)"):
    try:
        connection.run(text)
    except pg8000.native.DatabaseError as error:
        print({key: error.args[0][key] for key in "SCM"})
connection.run("START TRANSACTION")
connection.run("INSERT INTO t (id) VALUES (9)")
connection.run("ROLLBACK")
print(connection.run("SELECT count(*) FROM t"), connection.parameter_statuses["server_encoding"])
connection.close()

connection = pg8000.dbapi.connect(**where)
cursor = connection.cursor()
cursor.execute("SELECT id, name FROM t WHERE id > %s ORDER BY id", (1,))
print(cursor.fetchall(), cursor.description)
cursor.executemany("INSERT INTO t (id, name) VALUES (%s, %s)", [(20, "x"), (21, "y")])
connection.commit()
cursor.execute("SELECT count(*) FROM t")
print(cursor.fetchone())
connection.autocommit = True
cursor.execute("ANALYZE")
connection.close()
