"""asyncpg: binary types, introspection, prepared statements, COPY, cursors, pools."""
import asyncio
import datetime
import decimal
import io
import uuid

import asyncpg


async def main():
    connection = await asyncpg.connect(ssl=False)
    print(connection.get_server_version()[:2], connection.get_settings().client_encoding)
    await connection.execute("CREATE TABLE t (id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, day date, ok boolean, raw bytea,"
                             " tags text[], doc jsonb, key uuid, x float8, span interval, clock time, small smallint, big bigint, real4 real)")
    row = (1, "one", decimal.Decimal("9.99"), datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc), datetime.date(2024, 2, 29), True,
           b"\x00\xff", ["a", "b,c", None], '{"a": [1, null]}', uuid.UUID(int=1), 1.5, datetime.timedelta(days=1, seconds=2),
           datetime.time(1, 2, 3), 7, 1 << 40, 2.5)
    print(await connection.execute(f"INSERT INTO t VALUES ({', '.join(f'${n + 1}' for n in range(len(row)))})", *row))
    for one in await connection.fetch("SELECT * FROM t"):
        print(dict(one))
    await connection.executemany("INSERT INTO t (id, name) VALUES ($1, $2)", [(2, "b"), (3, None)])
    statement = await connection.prepare("SELECT id, name, price * $1 AS cost FROM t WHERE id >= $2 ORDER BY id")
    print([(p.name, p.oid) for p in statement.get_parameters()])
    print([(a.name, a.type.name, a.type.oid) for a in statement.get_attributes()])
    print(await statement.fetch(decimal.Decimal(2), 1), statement.get_statusmsg())
    print(await connection.fetchval("SELECT count(*) FROM t WHERE id = ANY($1::int[])", [1, 2, 9]))
    print(await connection.fetchrow("SELECT $1::text, $2::int[], $3::timestamptz[], $4::jsonb, NULL::numeric, 'infinity'::timestamptz, '-infinity'::date,"
                                    " 1e-20::numeric, '{{1,2},{3,4}}'::int[]", "a", [1, None],
                                    [datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)], "[1]"))
    async with connection.transaction():
        found = []
        async for one in connection.cursor("SELECT id FROM t ORDER BY id", prefetch=2):
            found.append(one["id"])
        print(found)
        cursor = await connection.cursor("SELECT generate_series(1, 10)")
        print(await cursor.fetch(3), await cursor.forward(2), await cursor.fetchrow())
    try:
        async with connection.transaction(isolation="serializable"):
            await connection.execute("INSERT INTO t (id) VALUES (50)")
            async with connection.transaction():
                await connection.execute("INSERT INTO t (id) VALUES (50)")
    except asyncpg.PostgresError as error:
        print(type(error).__name__, error.sqlstate, error.message, error.detail, error.constraint_name, error.table_name, error.schema_name)
    print(await connection.fetchval("SELECT count(*) FROM t"))
    print(await connection.copy_records_to_table("t", records=[(10, "ten"), (11, None)], columns=["id", "name"]))
    print(await connection.copy_to_table("t", source=io.BytesIO(b"12,twelve\n"), columns=["id", "name"], format="csv"))
    out = io.BytesIO()
    print(await connection.copy_from_query("SELECT id, name FROM t WHERE id > $1 ORDER BY id", 5, output=out, format="csv", header=True), out.getvalue())
    out = io.BytesIO()
    print(await connection.copy_from_table("t", output=out, columns=["id"], format="binary"), len(out.getvalue()))
    for statement in ("SELECT 1/0", "SELECT * FROM nowhere", "SELECT nothing FROM t", "SELEC", "SELECT 'a'::int", "SELECT $1::int", "SELECT sum(name) FROM t"):
        try:
            print(await connection.fetch(statement))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            print(type(error).__name__, getattr(error, "sqlstate", None), str(error).splitlines()[0], getattr(error, "position", None))
    for arguments in (("SELECT $1::int", "x"), ("SELECT $1::int", 1 << 40), ("SELECT $1::numeric(4,2)", decimal.Decimal("123456"))):
        try:
            print(await connection.fetch(*arguments))
        except Exception as error:
            print(type(error).__name__, str(error).splitlines()[0])
    print(await connection.fetch("SELECT typname, oid, typarray FROM pg_type WHERE typname IN ('int4', 'text', 'jsonb') ORDER BY 1"))
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=lambda text: ("decoded", text))
    print(await connection.fetchval("SELECT doc FROM t WHERE id = 1"))
    await connection.reset()
    try:
        await connection.fetch("SELECT pg_sleep(10)", timeout=0.3)
    except asyncio.TimeoutError:
        print("timed out")
    print(await connection.fetchval("SELECT 1"))
    await connection.close()
    async with asyncpg.create_pool(min_size=1, max_size=1, ssl=False) as pool:
        print(await pool.fetchval("SELECT count(*) FROM t"))
        async with pool.acquire() as one:
            await one.execute("SET work_mem = '8MB'")
        print(await pool.fetchval("SHOW search_path"))


asyncio.run(main())
