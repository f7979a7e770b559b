"""asyncpg: everything binary, prepared statements with inferred parameter types, COPY, cursors, introspection."""
import asyncio
import datetime as dt
import decimal
import uuid

import asyncpg

VALUES = [
    ("bool", True), ("int2", -1), ("int4", 7), ("int8", -(2**63)), ("float8", 1e-300), ("numeric(30,10)", decimal.Decimal("1.5")),
    ("text", "東京"), ("bytea", b"\x00\x01"), ("date", dt.date(1999, 12, 31)), ("time", dt.time(1, 2, 3)),
    ("timestamp", dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("timestamptz", dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)), ("interval", dt.timedelta(hours=25)),
    ("uuid", uuid.uuid4()), ("jsonb", '{"a": 1}'), ("json", '[1,  2]'), ("int4[]", [1, None]), ("text[]", ["x", None, "y z"]),
]


async def main():
    connection = await asyncpg.connect(user="tidemill", database="tidemill")
    for name, value in VALUES:
        assert await connection.fetchval(f"SELECT $1::{name}", value) == value, name
        assert await connection.fetchval(f"SELECT $1::{name}", None) is None, name
    await connection.execute("DROP TABLE IF EXISTS asyncpg_check")
    await connection.execute("CREATE TABLE asyncpg_check (id int, at timestamptz, v float8, tags text[])")
    now = dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=dt.timezone.utc)
    await connection.copy_records_to_table(
        "asyncpg_check", records=[(n, now + dt.timedelta(seconds=n), n / 3, ["t", None]) for n in range(500)])
    await connection.executemany("INSERT INTO asyncpg_check VALUES ($1, $2, $3, $4)", [(500, None, None, None), (501, now, 1.0, [])])
    # Parameter types come from the columns they are compared with.
    rows = await connection.fetch("SELECT id, at, v, tags FROM asyncpg_check WHERE id < $1 AND at >= $2 ORDER BY id LIMIT $3",
                                  10, now, 2)
    assert [tuple(row) for row in rows] == [(0, now, 0.0, ["t", None]), (1, now + dt.timedelta(seconds=1), 1 / 3, ["t", None])]
    statement = await connection.prepare("SELECT count(*) FROM asyncpg_check WHERE id = ANY($1::int[])")
    assert [str(p.name) for p in statement.get_parameters()] == ["int4[]"]
    assert await statement.fetchval([1, 2, 3, 9999]) == 3
    async with connection.transaction():
        seen = [record["id"] async for record in connection.cursor("SELECT id FROM asyncpg_check ORDER BY id", prefetch=50)]
        assert seen == list(range(502))
    try:
        async with connection.transaction():
            await connection.execute("DELETE FROM asyncpg_check")
            raise RuntimeError
    except RuntimeError:
        pass
    assert await connection.fetchval("SELECT count(*) FROM asyncpg_check") == 502
    try:
        await connection.fetch("SELECT * FROM nowhere")
        raise AssertionError("no error")
    except asyncpg.UndefinedTableError as error:
        assert error.sqlstate == "42P01"
    try:
        await connection.fetch("SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b", timeout=0.5)
        raise AssertionError("not cancelled")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("SELECT 1") == 1, "the session survives a cancelled statement"
    await connection.execute("DROP TABLE asyncpg_check")
    await connection.close()
    async with asyncpg.create_pool(user="tidemill", database="tidemill", min_size=2, max_size=4) as pool:
        assert sum(await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(20)))) == 190
    print("asyncpg", asyncpg.__version__, "fine")


asyncio.run(main())
