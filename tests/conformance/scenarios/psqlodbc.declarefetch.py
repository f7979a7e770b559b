"""psqlODBC as BI tools set it up: catalog functions, declare/fetch, parameters."""
import datetime
import decimal
import glob
import os

import pyodbc

driver = glob.glob("/usr/lib/*/odbc/psqlodbcw.so")[0]
where = (f"Driver={driver};Server={os.environ['PGHOST']};Port={os.environ['PGPORT']};Database={os.environ['PGDATABASE']};"
         f"Uid={os.environ['PGUSER']};Pwd={os.environ['PGPASSWORD']};")
for options in ("", "UseDeclareFetch=1;Fetch=2;", "UseServerSidePrepare=0;"):
    connection = pyodbc.connect(where + options)
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS t")
    cursor.execute("CREATE TABLE t (id int PRIMARY KEY, name varchar(20), price numeric(10,2), at timestamp, day date, ok boolean, x float8, big bigint)")
    cursor.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)", 1, "one", decimal.Decimal("9.99"), datetime.datetime(2024, 2, 29, 12), datetime.date(2024, 2, 29), True, 1.5, 1 << 40)
    cursor.executemany("INSERT INTO t (id, name) VALUES (?, ?)", [(n, f"n{n}") for n in range(2, 8)])
    connection.commit()
    print(cursor.execute("SELECT * FROM t ORDER BY id").fetchall())
    print([column[:2] + column[3:] for column in cursor.description])
    print(cursor.execute("SELECT name FROM t WHERE id > ? AND price IS NULL ORDER BY id", 3).fetchall())
    print([tuple(row)[2:4] for row in cursor.tables(schema="public")])
    print([tuple(row)[3:9] for row in cursor.columns(table="t")])
    print([tuple(row)[3:] for row in cursor.primaryKeys("t")])
    print([tuple(row)[3:9] for row in cursor.statistics("t", unique=True)])
    print([tuple(row)[:3] for row in cursor.getTypeInfo()][:5])
    print(list(cursor.foreignKeys("t")), list(cursor.procedures(schema="public")))
    for text in ("SELECT 1/0", "SELECT * FROM nowhere", "SELEC"):
        try:
            cursor.execute(text)
            cursor.fetchall()
        except pyodbc.Error as error:
            print(error.args[0])
        connection.rollback()
    print(connection.getinfo(pyodbc.SQL_DBMS_NAME), connection.getinfo(pyodbc.SQL_DATABASE_NAME))
    connection.close()
