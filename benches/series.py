"""Time series: gaps, joins in time, buckets. Called by run.py, on its data."""
import threading

from run import drain, load, note, optional, skip, timed

START = "2024-01-01 00:00:00"


def best(bench, runs):
    """The least milliseconds of each, alternating, after one round to warm up; the last answers."""
    times, answers = {name: [] for name in runs}, {}
    for round_number in range(bench.rounds + 1):
        for name, run in runs.items():
            seconds, answers[name] = timed(run)
            if round_number:
                times[name].append(seconds * 1000)
    return {name: min(values) for name, values in times.items()}, answers


def compare(bench, what, ours, theirs, goal, check=True):
    """Our SQL over the wire against DuckDB's in process."""
    connection = bench.tidemill.connect()
    cursor = connection.cursor(binary=True)
    runs = {"tidemill": lambda: cursor.execute(ours).fetchall()}
    if bench.db:
        runs["duckdb"] = lambda: bench.db.execute(theirs).fetchall()
    least, answers = best(bench, runs)
    connection.close()
    if bench.db and check:
        ours, theirs = answers["tidemill"], answers["duckdb"]
        near = all(abs(a - b) <= 1e-6 * max(abs(a), 1) for a, b in zip(map(float, ours[0]), map(float, theirs[0])))
        assert near, f"{what}: the answers differ: {ours[0]} {theirs[0]}"
    peer = least.get("duckdb")
    bench.report.add(what, f"{least['tidemill']:.0f} ms", "duckdb" if peer else "", f"{peer:.0f} ms" if peer else "",
                     least["tidemill"] / peer if peer else None, goal)


def sparse(bench):
    """The table without one row in twenty, once."""
    load(bench)
    if getattr(bench, "sparse", None):
        return bench.sparse
    finish = bench.tidemill.psql("SELECT max(ts) + interval '10 seconds' FROM cpu")
    keep = "(extract(epoch FROM ts)::bigint / 10 * 7919 + substr(hostname, 6)::bigint * 104729) % 20 <> 0"
    bench.tidemill.psql("DROP TABLE IF EXISTS sparse; CREATE TABLE sparse (ts timestamp, hostname text, u float8, s float8); "
                        f"INSERT INTO sparse SELECT ts, hostname, usage_user, usage_system FROM cpu WHERE {keep}")
    bench.tidemill.psql("VACUUM FULL sparse")
    if bench.db:
        kept = keep.replace("extract(epoch FROM ts)::bigint / 10", "(epoch(ts)::bigint // 10)")
        bench.db.execute("CREATE OR REPLACE TABLE sparse AS SELECT ts, hostname, usage_user AS u, usage_system AS s FROM cpu "
                         f"WHERE {kept} ORDER BY ts")
        bench.db.execute("CHECKPOINT")
        rows = bench.db.execute("SELECT count(*) FROM sparse").fetchone()[0]
        assert rows == int(bench.tidemill.psql("SELECT count(*) FROM sparse")), "the tables differ"
    bench.sparse = finish
    return finish


def gapfill(bench):
    finish = sparse(bench)
    ours = f"""SELECT count(*), sum(u), sum(s) FROM (
        SELECT time_bucket_gapfill('10 seconds', ts) AS t, hostname, interpolate(avg(u)) AS u, locf(avg(s)) AS s
        FROM sparse WHERE ts >= '{START}' AND ts < '{finish}' GROUP BY 1, 2) AS filled"""
    theirs = f"""WITH grid AS (
            SELECT hostname, t FROM (SELECT DISTINCT hostname FROM sparse)
            CROSS JOIN generate_series(TIMESTAMP '{START}', TIMESTAMP '{finish}' - INTERVAL 10 SECONDS, INTERVAL 10 SECONDS) AS g(t)),
        known AS (SELECT time_bucket(INTERVAL 10 SECONDS, ts) AS t, hostname, avg(u) AS u, avg(s) AS s FROM sparse GROUP BY ALL),
        joined AS (SELECT grid.t, hostname, u, s, CASE WHEN u IS NOT NULL THEN epoch(grid.t) END AS x, epoch(grid.t) AS pt
                   FROM grid LEFT JOIN known USING (hostname, t)),
        near AS (SELECT pt, u, last_value(s IGNORE NULLS) OVER w1 AS s,
                        last_value(u IGNORE NULLS) OVER w1 AS u0, last_value(x IGNORE NULLS) OVER w1 AS x0,
                        first_value(u IGNORE NULLS) OVER w2 AS u1, first_value(x IGNORE NULLS) OVER w2 AS x1
                 FROM joined WINDOW
                   w1 AS (PARTITION BY hostname ORDER BY pt ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
                   w2 AS (PARTITION BY hostname ORDER BY pt ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING))
        SELECT count(*), sum(coalesce(u, (u0 * (x1 - pt) + u1 * (pt - x0)) / (x1 - x0))), sum(s) FROM near"""
    compare(bench, "gapfill, interpolate, locf: 1,000 series, 10 s grid, 5% missing", ours, theirs, "≤ 0.3")


def asof(bench):
    load(bench)
    bench.tidemill.psql("DROP TABLE IF EXISTS trade; CREATE TABLE trade (ts timestamp, hostname text, price float8); "
                        "INSERT INTO trade SELECT ts + interval '3 seconds', hostname, usage_idle FROM cpu")
    bench.tidemill.psql("VACUUM FULL trade")
    if bench.db:
        bench.db.execute("CREATE OR REPLACE TABLE trade AS SELECT ts + INTERVAL 3 SECONDS AS ts, hostname, usage_idle AS price "
                         "FROM cpu ORDER BY ts")
        bench.db.execute("CHECKPOINT")
    sql = """SELECT count(*), sum(t.price - q.usage_user) FROM trade t ASOF JOIN cpu q
             ON t.hostname = q.hostname AND t.ts >= q.ts"""
    compare(bench, f"ASOF JOIN of {bench.rows:,} with {bench.rows:,} rows, 1,000 keys", sql, sql, "≤ 1.0, stretch 0.5")


def asof_unsorted(bench):
    """Matched by a number that no table is in the order of; both sides are sorted by whoever joins them."""
    load(bench)
    polars = optional("polars")
    number = "((extract(epoch FROM ts)::bigint / 10 * 1000 + substr(hostname, 6)::bigint) * 48271) % 100000007"
    bench.tidemill.psql("DROP TABLE IF EXISTS bids, asks; CREATE TABLE bids (ts timestamp, x bigint, hostname text, a float8); "
                        "CREATE TABLE asks (ts timestamp, x bigint, hostname text, b float8); "
                        f"INSERT INTO bids SELECT ts, {number} + 3, hostname, usage_idle FROM cpu; "
                        f"INSERT INTO asks SELECT ts, {number}, hostname, usage_user FROM cpu")
    bench.tidemill.psql("VACUUM FULL bids")
    bench.tidemill.psql("VACUUM FULL asks")
    connection = bench.tidemill.connect()
    cursor = connection.cursor(binary=True)
    sql = "SELECT count(*), sum(l.a - r.b) FROM bids l ASOF JOIN asks r ON l.hostname = r.hostname AND l.x >= r.x"
    runs = {"tidemill": lambda: cursor.execute(sql).fetchall()}
    if polars:
        cpu = polars.read_parquet(bench.parquet, columns=["ts", "hostname", "usage_idle", "usage_user"])
        x = (polars.col("ts").dt.epoch("s") // 10 * 1000 + polars.col("hostname").str.slice(5).cast(polars.Int64)) * 48271 % 100000007
        left = cpu.select((x + 3).alias("x"), "hostname", polars.col("usage_idle").alias("a"))
        right = cpu.select(x.alias("x"), "hostname", polars.col("usage_user").alias("b"))

        def joined():
            pairs = left.sort("x").join_asof(right.sort("x"), on="x", by="hostname").drop_nulls("b")
            return [(pairs.height, (pairs["a"] - pairs["b"]).sum())]
        runs["polars"] = joined
    least, answers = best(bench, runs)
    connection.close()
    if polars:
        ours, theirs = answers["tidemill"][0], answers["polars"][0]
        assert ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1e-6 * abs(ours[1]), f"the answers differ: {ours} {theirs}"
    peer = least.get("polars")
    bench.report.add(f"ASOF JOIN of {bench.rows:,} with {bench.rows:,} unsorted rows", f"{least['tidemill']:.0f} ms",
                     "polars, sort and join_asof" if peer else "", f"{peer:.0f} ms" if peer else "",
                     least["tidemill"] / peer if peer else None, "≤ 1.2")


def bucket(bench):
    load(bench)
    averages = ", ".join(f"avg({name})" for name in ("usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait"))
    query = f"SELECT {{}} AS t, hostname, {averages} FROM cpu GROUP BY 1, 2"
    connection = bench.tidemill.connect()
    cursor = connection.cursor(binary=True)
    counted = f"SELECT count(*) FROM ({query.format(chr(39).join(['time_bucket(', '1 hour', ', ts)']))}) AS b"
    runs = {"tidemill": lambda: cursor.execute(counted).fetchall()}
    if bench.datafusion:
        fusion = bench.datafusion.SessionContext()
        fusion.register_parquet("cpu", str(bench.parquet))
        plain = f"SELECT count(*) FROM ({query.format(chr(39).join(['date_trunc(', 'hour', ', ts)']))}) AS b"
        runs["datafusion"] = lambda: fusion.sql(plain).collect()
    least, _ = best(bench, runs)
    connection.close()
    peer = least.get("datafusion")
    bench.report.add("time_bucket and 5 averages by host", f"{least['tidemill']:.0f} ms", "datafusion, date_trunc" if peer else "",
                     f"{peer:.0f} ms" if peer else "", least["tidemill"] / peer if peer else None, "≤ 1.0")


def last_point(bench):
    load(bench)
    ours = "SELECT count(*), sum(usage_user) FROM (SELECT DISTINCT ON (hostname) * FROM cpu ORDER BY hostname, ts DESC) AS l"
    compare(bench, "last point of 1,000 series", ours, ours, "≤ 0.2")


def gapfill_memory(bench):
    """A hundred rows for each that is there, all of them to the client."""
    load(bench)
    series = bench.rows // 10_000
    sql = f"""SELECT time_bucket_gapfill('100 milliseconds', ts) AS t, hostname, locf(avg(usage_user)) FROM cpu
              WHERE ts >= '{START}' AND ts < timestamp '{START}' + interval '10000 seconds' GROUP BY 1, 2"""
    server = bench.tidemill
    idle, peak, stop = server.resident(), [0], threading.Event()

    def watch():
        while not stop.wait(0.05):
            peak[0] = max(peak[0], server.resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds, count = timed(lambda: drain(server, sql))
    stop.set()
    watcher.join()
    note(f"{count:,} rows in {seconds:.1f} s, {series} thousand series")
    bench.report.add(f"gapfill of {count:,} rows to the client, server memory above idle", f"{max(peak[0] - idle, 0) >> 20} MB", "", "",
                     None, "≤ 256 MB")


def day(bench):
    """One series for a day, a value each second between samples of ten."""
    load(bench)
    if int(bench.tidemill.psql("SELECT count(*) FROM cpu WHERE hostname = 'host_7'")) < 8_641:
        skip("a day resampled to seconds: needs ten million rows")
        return
    connection = bench.tidemill.connect()
    cursor = connection.cursor(binary=True)
    sql = f"""SELECT count(*), sum(usage_user) FROM resample((SELECT ts, usage_user FROM cpu WHERE hostname = 'host_7'),
              every => '1 second', method => 'linear') WHERE ts >= '{START}' AND ts < timestamp '{START}' + interval '1 day'"""
    least, answers = best(bench, {"tidemill": lambda: cursor.execute(sql).fetchall()})
    connection.close()
    assert answers["tidemill"][0][0] == 86_400, answers
    bench.report.add("a day of one series resampled to 1 s", f"{least['tidemill']:.1f} ms", "", "", None, "< 30 ms")
