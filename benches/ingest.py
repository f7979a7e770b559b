"""Documents and line protocol over HTTP. Called by run.py."""
import http.client
import json
import threading

from run import note, timed

EVENTS = ("CREATE TABLE events (id text, ts timestamptz) "
          "WITH (tidemill.evolve = 'add_columns')")


def post(bench, path, body, expected):
    connection = http.client.HTTPConnection("127.0.0.1", bench.tidemill.http_port, timeout=600)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == expected, (answer.status, text[:300])
    return text


def event(n):
    """12 fields, about 250 bytes."""
    return (f'{{"id":"0190cafe-0000-7000-8000-{n:012x}","ts":"2024-05-01T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}.{n % 1000000:06}Z",'
            f'"user_id":{n * 7919 % 1000000},"event":"{("click", "view", "purchase")[n % 3]}","page":"/products/{n % 5000}","country":"DE",'
            f'"amount":{n % 1000}.{n % 100:02},"duration_ms":{n % 90000},"ok":{"true" if n % 2 else "false"},"browser":"Firefox",'
            f'"score":{n % 7}.{n % 1000},"session":{n % 100000}}}\n')


def together(work):
    """Runs functions at once; raises what one of them raised."""
    failures = []

    def run(function):
        try:
            function()
        except Exception as error:
            failures.append(error)
    threads = [threading.Thread(target=run, args=[function]) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def ndjson(bench):
    """Events into an evolving table over HTTP, durably; DuckDB's read_json into a table, from a file."""
    rows, parts = bench.rows // 5, 4
    bodies = ["".join(map(event, range(part * rows // parts, (part + 1) * rows // parts))).encode() for part in range(parts)]
    path = bench.work / "events.ndjson"
    path.write_bytes(b"".join(bodies))
    note(f"{rows:,} events of {path.stat().st_size / rows:.0f} B")
    ours = []
    for _ in range(3):
        bench.tidemill.psql(f"DROP TABLE IF EXISTS events; {EVENTS}")
        # The columns are found by one small body first, as by a stream that is under way.
        post(bench, "/v1/ingest/events?format=ndjson", event(0), 200)
        seconds, _ = timed(lambda: together([lambda body=body: post(bench, "/v1/ingest/events?format=ndjson", body, 200) for body in bodies]))
        assert int(bench.tidemill.psql("SELECT count(*) FROM events")) == rows + 1
        ours.append(rows / seconds)
    peer = None
    if bench.duckdb:
        theirs = []
        for _ in range(3):
            with bench.duckdb.connect(str(bench.work / "events.duckdb")) as db:
                db.execute("DROP TABLE IF EXISTS events")
                seconds, _ = timed(lambda: (db.execute(f"CREATE TABLE events AS SELECT * FROM read_json('{path}')"), db.execute("CHECKPOINT")))
            theirs.append(rows / seconds)
        peer = max(theirs)
    path.unlink()
    bench.report.add("NDJSON over HTTP, 12 fields, evolving table: rows/s", f"{max(ours) / 1e3:.0f} k", "duckdb, read_json" if peer else "",
                     f"{peer / 1e3:.0f} k" if peer else "", max(ours) / peer if peer else None, "≥ 400 k, ≥ 1.0")


def lines(bench):
    """100,000 series, 3 fields, 8 connections."""
    series, clients, rounds = 100_000, 8, 4
    bodies = []
    for client in range(clients):
        time = 1_704_067_200_000_000_000
        bodies.append([
            "".join(f"sensors,device=d{number},site=s{number % 40} temperature={20 + number % 100 / 10},humidity={number % 101}i,"
                    f"voltage={3 + number % 7 / 10} {time + (round_number * series + number) * 1000}\n"
                    for number in range(client * series // clients, (client + 1) * series // clients)).encode()
            for round_number in range(rounds)])
    rates = []
    for _ in range(3):
        bench.tidemill.psql("DROP TABLE IF EXISTS sensors")
        first = b"sensors,device=d,site=s temperature=1,humidity=1i,voltage=1 1704067200000000000\n"
        post(bench, "/api/v2/write?bucket=tidemill", first, 204)

        def client(number):
            for body in bodies[number]:
                post(bench, "/api/v2/write?bucket=tidemill", body, 204)
        seconds, _ = timed(lambda: together([lambda number=number: client(number) for number in range(clients)]))
        assert int(bench.tidemill.psql("SELECT count(*) FROM sensors")) == series * rounds + 1
        rates.append(series * rounds / seconds)
    bench.report.add("line protocol, 100,000 series, 3 fields, 8 connections: rows/s", f"{max(rates) / 1e6:.2f} M", "", "", None, "≥ 1.0 M")


def wide(bench):
    """A thousand columns; 1% of the batches' fields are new, against the same rows into a table that has them all."""
    columns, batches, rows = 1000, 20, 500
    bodies = []
    for batch in range(batches):
        known = columns * 8 // 10 + batch * columns // 100
        bodies.append("".join(json.dumps({"id": str(batch * rows + row), **{f"c{at}": at + row for at in range(known)}}) + "\n"
                              for row in range(rows)).encode())
    seconds = {}
    for name, table in (("evolving", "grows"), ("fixed", "fixed")):
        all_columns = ", ".join(f"c{at} bigint" for at in range(columns)) if name == "fixed" else "c0 bigint"
        option = "" if name == "fixed" else " WITH (tidemill.evolve = 'add_columns')"
        times = []
        for _ in range(3):
            bench.tidemill.psql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id text, {all_columns}){option}")
            spent, _ = timed(lambda: [post(bench, f"/v1/ingest/{table}?format=ndjson", body, 200) for body in bodies])
            assert int(bench.tidemill.psql(f"SELECT count(*) FROM {table}")) == batches * rows
            times.append(spent)
        seconds[name] = min(times)
    bench.report.add("1,000 columns, 1% new in each batch, ÷ a fixed table", f"{seconds['evolving']:.2f} s", "fixed table",
                     f"{seconds['fixed']:.2f} s", seconds["evolving"] / seconds["fixed"], "≤ 1.5")


def upsert(bench):
    """A tenth as many new versions as there are keys, then a full count and sum: against a table without a key."""
    keys, new = bench.rows, bench.rows // 10
    path = bench.work / "versions.csv"
    with path.open("w", encoding="ascii") as file:
        # Half of them newer versions of keys all over the table, half of them in the last tenth.
        for n in range(new):
            key = n * 7919 % keys if n % 2 else keys - 1 - n * 31 % (keys // 10)
            file.write(f"{key},2026-02-01 00:00:{n % 60:02}.{n % 1000000:06}+00,{n}\n")
    psql = bench.tidemill.psql
    spent = {}
    for name, option in (("latest", " PRIMARY KEY"), ("plain", "")):
        with_option = " WITH (tidemill.upsert = 'ts')" if option else ""
        columns = f"id bigint{option}, ts timestamptz, v bigint"
        full = f"SELECT count(*), sum(v) FROM {name}"
        psql(f"DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({columns}){with_option}")
        psql(f"INSERT INTO {name} SELECT g::bigint * 7907 % {keys}, timestamptz '2026-01-01' + g * interval '1 millisecond', g FROM generate_series(0, {keys - 1}) g")
        psql(f"CALL tidemill.compact('{name}')")
        psql(full), psql(full)

        def add():
            psql(f"\\copy {name} FROM '{path}' (FORMAT csv)")
            return psql(full)
        both, answer = timed(add)
        rows = int(answer.split("|")[0])
        assert rows == (keys if option else keys + new), answer
        before = min(timed(lambda: psql(full))[0] for _ in range(bench.rounds))
        psql(f"CALL tidemill.compact('{name}')")
        psql(full), psql(full)
        after = min(timed(lambda: psql(full))[0] for _ in range(bench.rounds))
        spent[name] = (both, before, after)
    path.unlink()
    goals = ("≤ 3", "≤ 3", "≤ 1.05")
    whats = (f"COPY of {new / 1e6:.1f} M versions into {keys / 1e6:.0f} M keys, then count and sum", "count and sum again", "and after compaction")
    for what, goal, ours, theirs in zip(whats, goals, spent["latest"], spent["plain"]):
        bench.report.add(f"upsert: {what}", f"{ours * 1e3:.0f} ms", "plain table", f"{theirs * 1e3:.0f} ms", ours / theirs, goal)


def compact_files(bench):
    """The latest row of each key of 100 NDJSON files, 60% of the rows superseded, as one sorted Parquet file; DuckDB the same in SQL."""
    rows, files = bench.rows // 2, 100
    keys, folder = rows * 2 // 5, bench.work / "logs"
    folder.mkdir()
    for file in range(files):
        numbers = range(file * rows // files, (file + 1) * rows // files)
        # Every key comes once in the first two fifths; what follows supersedes them in another order.
        lines = (event(number).replace(f"{number:012x}", f"{number * 7919 % keys:012x}", 1) for number in numbers)
        (folder / f"log{file:03}.ndjson").write_text("".join(lines))
    size = sum(path.stat().st_size for path in folder.iterdir())
    note(f"{rows:,} events in {files} files, {size / 1e6:.0f} MB")
    ours, theirs, output = [], [], bench.work / "compacted.parquet"
    sql = (f"CALL tidemill.compact_files('{folder}/*.ndjson', into => '{output}', key => 'id', latest_by => 'ts', delete => false)")
    for _ in range(3):
        output.unlink(missing_ok=True)
        seconds, answer = timed(lambda: bench.tidemill.psql(sql))
        assert answer.split("|")[1:3] == [str(rows), str(keys)], answer
        ours.append(seconds)
    if bench.duckdb:
        peer = bench.work / "duckdb.parquet"
        source = f"read_json('{folder}/*.ndjson')"
        # Two ways to say it; the faster one counts.
        ways = [f"SELECT unnest(arg_max(e, ts)) FROM {source} e GROUP BY id ORDER BY id",
                f"SELECT * FROM {source} QUALIFY row_number() OVER (PARTITION BY id ORDER BY ts DESC) = 1 ORDER BY id"]
        for way in ways:
            for _ in range(2):
                with bench.duckdb.connect() as db:
                    seconds, _ = timed(lambda: db.execute(f"COPY ({way}) TO '{peer}' (FORMAT parquet, COMPRESSION zstd)"))
                theirs.append(seconds)
        with bench.duckdb.connect() as db:
            same = "SELECT count(*), sum(user_id), max(ts)::text, sum(amount::decimal(18, 2)) FROM "
            answers = [db.execute(f"{same} '{path}'").fetchall() for path in (output, peer)]
        assert answers[0][0][:2] == answers[1][0][:2] and answers[0][0][3] == answers[1][0][3], answers
        note(f"{output.stat().st_size / 1e6:.0f} MB; DuckDB's {peer.stat().st_size / 1e6:.0f} MB; its ways took {theirs}")
    bench.report.add(f"compact_files, 100 files, {rows / 1e6:.1f} M rows, 60% superseded", f"{min(ours):.2f} s", "duckdb" if theirs else "",
                     f"{min(theirs):.2f} s" if theirs else "", min(ours) / min(theirs) if theirs else None, "≤ 1.0")
    for path in folder.iterdir():
        path.unlink()
