"""Measures of stock clients, run by run.py: psql's describe, rows through JDBC and asyncpg."""
import asyncio
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

from run import HERE, skip, timed

ROWS, TABLES = 1_000_000, 5_000
FETCHED = ("g::int8 AS id, (g % 1000)::int4 AS kind, 'customer ' || g % 5000 AS name, timestamptz '2024-01-01' + g * interval '1 s' AS at, "
           "g / 3.0::float8 AS ratio, (g % 100000 / 100.0)::numeric(12,2) AS price, g % 3 = 0 AS paid, date '2024-01-01' + g % 365 AS day")


def describe(bench):
    """psql's `\\d+` in a database of 5,000 tables: of one of them, of all that match, and the list of all."""
    databases = {}
    for server in bench.servers():
        server.psql("CREATE SCHEMA many")
        create = lambda n: (f"CREATE TABLE many.t{n} (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), name text, v float8, "
                            f"other bigint);")
        for first in range(0, TABLES, 500):
            server.psql("BEGIN;" + "".join(create(n) for n in range(first, first + 500)) + "COMMIT")
        databases[server.name] = server
    for what, command, expected in [("one table", f"\\d+ many.t{TABLES // 2}", "at|timestamp with time zone||not null|now()"),
                                    ("names that match", "\\d+ many.t77*", "at|timestamp with time zone||not null|now()"),
                                    ("the list", "\\dt+ many.*", f"t{TABLES // 2}|table")]:
        times = {name: [] for name in databases}
        for round_number in range(bench.rounds + 1):
            for name, server in databases.items():
                seconds, out = timed(lambda: server.psql(command))
                assert expected in out, out[:200]
                if round_number:
                    times[name].append(seconds * 1000)
        compare(bench, f"psql {command.split()[0]} with {TABLES:,} tables, {what}", times, "< 300 ms")


def compare(bench, what, times, goal):
    """Medians: a client's time has no floor that noise cannot touch."""
    middle = {name: statistics.median(values) for name, values in times.items()}
    ours, theirs = middle["tidemill"], middle.get("postgresql")
    bench.report.add(what, f"{ours:,.0f} ms", "postgresql" if theirs else "", f"{theirs:,.0f} ms" if theirs else "",
                     ours / theirs if theirs else None, goal)


def fetched(bench):
    """The table that clients fetch, once; compacted, as history is."""
    for server in bench.servers():
        if server.psql("SELECT count(*) FROM pg_class WHERE relname = 'fetched'") == "0":
            server.psql(f"CREATE TABLE fetched AS SELECT {FETCHED} FROM generate_series(1, {ROWS}) AS g")
            server.psql("VACUUM FULL fetched")


def asyncpg(bench):
    """`fetch` of a million rows of eight columns: always in binary."""
    driver = bench_module("asyncpg")
    if driver is None:
        return
    fetched(bench)

    async def run():
        times, sums = {server.name: [] for server in bench.servers()}, {}
        connections = {server.name: await driver.connect(host="127.0.0.1", port=server.port, user=server.env["PGUSER"],
                                                         database=server.env["PGDATABASE"]) for server in bench.servers()}
        for round_number in range(bench.rounds + 1):
            for name, connection in connections.items():
                began = asyncio.get_running_loop().time()
                rows = await connection.fetch("SELECT * FROM fetched")
                seconds = asyncio.get_running_loop().time() - began
                sums[name] = (len(rows), sum(row["id"] for row in rows), sum(row["price"] for row in rows))
                del rows
                if round_number:
                    times[name].append(seconds * 1000)
        for connection in connections.values():
            await connection.close()
        assert len(set(sums.values())) == 1, sums
        return times
    compare(bench, f"asyncpg, fetch of {ROWS:,} rows, 8 columns", asyncio.run(run()), "≤ 1.0")


def bench_module(name):
    """A client that only these measures need, from PyPI into the bench's virtual environment."""
    import importlib
    import sys
    try:
        return importlib.import_module(name)
    except ImportError:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", name], check=False)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ImportError:
        skip(f"{name}: pip cannot install it")
        return None


def jdbc_driver(work):
    """Debian's pgjdbc, unpacked where it is not installed; None without it or without a compiler."""
    installed = pathlib.Path("/usr/share/java/postgresql.jar")
    if not shutil.which("javac"):
        return skip("JDBC: no Java compiler")
    if installed.exists():
        return installed
    done = subprocess.run(["apt-get", "download", "libpostgresql-jdbc-java"], cwd=work, capture_output=True)
    packages = list(work.glob("libpostgresql-jdbc-java*.deb"))
    if done.returncode or not packages:
        return skip("JDBC: Debian's libpostgresql-jdbc-java cannot be had")
    subprocess.run(["dpkg", "-x", packages[0], work / "deb"], check=True)
    return work / "deb/usr/share/java/postgresql.jar"


def jdbc(bench):
    """A million rows of eight columns through pgjdbc, all at once and 10,000 at a time; one JVM a server and round."""
    with tempfile.TemporaryDirectory(dir=bench.work) as folder:
        work = pathlib.Path(folder)
        jar = jdbc_driver(work)
        if jar is None:
            return
        fetched(bench)
        subprocess.run(["javac", "-d", work, HERE / "Fetch.java"], check=True)
        for size, how in [(0, "at once"), (10_000, "10,000 at a time")]:
            times, sums = {server.name: [] for server in bench.servers()}, {}
            for _ in range(bench.rounds):
                for server in bench.servers():
                    url = f"jdbc:postgresql://127.0.0.1:{server.port}/{server.env['PGDATABASE']}?user={server.env['PGUSER']}"
                    # Six runs: a plan's and the JVM's warming-up are not what is asked; the last three count.
                    done = subprocess.run(["java", "-Xmx4g", "-cp", f"{jar}{os.pathsep}{work}", "Fetch", url, str(size), "6",
                                           "SELECT * FROM fetched"], capture_output=True, text=True)
                    if done.returncode:
                        raise RuntimeError(f"{server.name}: {done.stderr[-500:]}")
                    lines = [line.split() for line in done.stdout.splitlines()]
                    times[server.name] += [float(line[0]) for line in lines[3:]]
                    sums[server.name] = tuple(lines[-1][1:])
            assert len(set(sums.values())) == 1, sums
            compare(bench, f"JDBC, fetch of {ROWS:,} rows, 8 columns, {how}", times, "≤ 1.0")
