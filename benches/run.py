#!/usr/bin/env python3
"""Tidemill and its peers, side by side in one run: see README.md beside this file."""
import argparse
import contextlib
import math
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = HERE / ".venv"
PEERS = ["duckdb", "chdb", "datafusion", "polars", "pyarrow", "numpy", "psycopg[binary]"]
HOSTS = 1000
COLUMNS = ["ts", "hostname", "region", "usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait"]
SCHEMA = ("ts timestamp NOT NULL, hostname text NOT NULL, region text NOT NULL, usage_user float8, usage_system float8, "
          "usage_idle float8, usage_nice float8, usage_iowait float8")
MEASURES = ["copy", "insert", "queries", "select", "prepared", "disk", "restart"]
# In ingest.py, series.py and clients.py.
INGEST = ["ndjson", "lines", "wide", "upsert", "compact_files"]
SERIES = ["gapfill", "asof", "asof_unsorted", "bucket", "last_point", "gapfill_memory", "day"]
# The tables that describe makes stay: it comes last.
CLIENTS = ["asyncpg", "jdbc", "describe"]


def note(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def skip(text):
    note(f"!!! SKIPPED {text}")


def into_venv():
    """Runs this script again inside the virtual environment, made on first use."""
    if pathlib.Path(sys.prefix) == VENV:
        return
    if not VENV.exists():
        note("making benches/.venv")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    python = VENV / "bin" / "python"
    for package in PEERS:
        module = package.split("[")[0]
        if subprocess.run([str(python), "-c", f"import {module}"], capture_output=True).returncode:
            done = subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", package])
            if done.returncode:
                skip(f"{module}: pip cannot install it")
    os.execv(str(python), [str(python), *sys.argv])


def optional(module):
    try:
        return __import__(module)
    except ImportError:
        skip(f"everything with {module}: not installed")
        return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---------------------------------------------------------------------------------------------------------------- servers

class Server:
    """A PostgreSQL-speaking server; `env` is what psql and pgbench need."""

    def __init__(self, name, user, database):
        self.name, self.port = name, free_port()
        self.env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": user, "PGDATABASE": database}
        self.process = None

    def psql(self, sql, **kwargs):
        done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], env=self.env, text=True,
                              capture_output=True, **kwargs)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {sql[:100]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def wait(self, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(["psql", "-XqAt", "-c", "SELECT 1"], env=self.env, capture_output=True)
            if done.returncode == 0:
                return
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready: {done.stderr.decode().strip()}")
            time.sleep(0.02)

    def connect(self):
        import psycopg
        return psycopg.connect(host="127.0.0.1", port=self.port, user=self.env["PGUSER"], dbname=self.env["PGDATABASE"],
                               autocommit=True)


class Tidemill(Server):
    def __init__(self, binary, directory, options=()):
        super().__init__("tidemill", "tidemill", "tidemill")
        self.binary, self.directory, self.options = binary, directory, list(options)
        self.http_port = free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data-dir", str(self.directory), "--pg-listen", f"127.0.0.1:{self.port}", "--http-listen",
             f"127.0.0.1:{self.http_port}", *self.options], stdout=subprocess.DEVNULL, stderr=open(f"{self.directory}.log", "a"))
        self.wait()

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def stop(self, kill=False):
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait(120)


class Postgres(Server):
    def __init__(self, binaries, directory):
        super().__init__("postgresql", "postgres", "postgres")
        self.binaries, self.directory = binaries, directory
        directory.mkdir()
        self.as_user = []
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = directory / "data"
        subprocess.run([*self.as_user, f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "--locale=C.UTF-8", "-E",
                        "UTF8"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.process = subprocess.Popen(
            [*self.as_user, f"{binaries}/postgres", "-D", data, "-p", str(self.port), "-k", directory, "-c", "listen_addresses=127.0.0.1",
             "-c", "timezone=UTC"], stdout=subprocess.DEVNULL, stderr=open(directory / "log", "w"), cwd="/")
        self.wait()

    def resident(self):
        """PostgreSQL answers a client in a process of its own: the largest of its children, without shared memory."""
        total = 0
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text()
                # A process that has ended has no memory any more.
                anonymous = re.search(r"RssAnon:\s+(\d+)", text)
                if anonymous and f"PPid:\t{self.process.pid}\n" in text:
                    total = max(total, int(anonymous[1]) * 1024)
        return total

    def stop(self, kill=False):
        self.process.terminate()
        self.process.wait(120)


def find_postgres():
    places = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if places and shutil.which("psql"):
        return str(places[-1])
    if shutil.which("initdb") and shutil.which("postgres"):
        return str(pathlib.Path(shutil.which("initdb")).parent)
    skip("everything with PostgreSQL: no server found")
    return None


# ------------------------------------------------------------------------------------------------------------------- data

def generate(rows, directory):
    """The rows as Parquet (for DuckDB and DataFusion), and as many as fit 4 M of them as CSV."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet
    csv_rows = max(rows * 4 // 10, 1)
    parquet, csv = directory / "cpu.parquet", directory / f"cpu_{csv_rows}.csv"
    random = np.random.default_rng(42)
    start = np.datetime64("2024-01-01T00:00:00", "us")
    ticks = math.ceil(rows / HOSTS)
    hosts = pa.array([f"host_{n}" for n in range(HOSTS)])
    places = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-south-1", "ap-northeast-1", "sa-east-1"]
    regions = pa.array([places[n % len(places)] for n in range(HOSTS)])
    schema = pa.schema([("ts", pa.timestamp("us")), ("hostname", pa.string()), ("region", pa.string()),
                        *((name, pa.float64()) for name in COLUMNS[3:])])
    level = random.uniform(0, 100, (5, HOSTS))
    per_batch, written, csv_left = 100, 0, csv_rows
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    with pa.parquet.ParquetWriter(parquet, schema, compression="zstd") as writer, open(csv, "wb") as text:
        for first in range(0, ticks, per_batch):
            count = min(per_batch, ticks - first)
            at = start + (np.arange(first, first + count) * 10_000_000).astype("timedelta64[us]")
            metrics = []
            for metric in range(5):
                # A random walk within 0..100, as TSBS has it, to two digits.
                walk = level[metric] + np.cumsum(random.normal(0, 1, (count, HOSTS)), axis=0)
                walk = 100 - np.abs(100 - np.abs(walk) % 200)
                level[metric] = walk[-1]
                metrics.append(np.round(walk.reshape(-1), 2))
            batch = pa.record_batch([pa.array(np.repeat(at, HOSTS)), pa.concat_arrays([hosts] * count),
                                     pa.concat_arrays([regions] * count), *map(pa.array, metrics)], schema=schema)
            batch = batch.slice(0, min(batch.num_rows, rows - written))
            written += batch.num_rows
            writer.write_batch(batch)
            if csv_left > 0:
                part = batch.slice(0, min(csv_left, batch.num_rows))
                csv_left -= part.num_rows
                pa.csv.write_csv(pa.Table.from_batches([part]), text, options)
    middle = str((start + np.timedelta64(ticks * 10 // 2, "s")).astype("datetime64[s]")).replace("T", " ")
    note(f"data: {rows} rows, {parquet.stat().st_size >> 20} MB Parquet, {csv.stat().st_size / csv_rows:.0f} B per CSV row")
    return parquet, csv, csv_rows, middle


# --------------------------------------------------------------------------------------------------------------- measures

class Report:
    def __init__(self):
        self.rows = []

    def add(self, what, ours, peer, value, ratio=None, goal=""):
        self.rows.append((what, ours, peer, value, ratio, goal))
        note(f"{what}: tidemill {ours}, {peer} {value}" + (f", ratio {ratio:.2f}" if ratio is not None else ""))

    def print(self, command):
        print(f"\n`{command}`\n")
        print("| what | Tidemill | peer | its value | ratio | wanted |\n|---|---|---|---|---|---|")
        for what, ours, peer, value, ratio, goal in self.rows:
            print(f"| {what} | {ours} | {peer} | {value} | {'' if ratio is None else f'{ratio:.2f}'} | {goal} |")


def timed(act):
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


def copy(bench):
    """Durable COPY by psql over the wire, and what the in-process engines need for the same file."""
    rates = {}
    for server in bench.servers():
        server.psql(f"DROP TABLE IF EXISTS cpu_csv; CREATE TABLE cpu_csv ({SCHEMA})")
        # The file, not a pipe of our own: psql reads it as a user would.
        seconds, _ = timed(lambda: server.psql(f"\\copy cpu_csv FROM '{bench.csv}' (FORMAT csv)"))
        assert int(server.psql("SELECT count(*) FROM cpu_csv")) == bench.csv_rows
        rates[server.name] = bench.csv_rows / seconds
    types = SCHEMA.replace(" NOT NULL", "").replace("text", "varchar").replace("float8", "double")
    if bench.duckdb:
        with bench.duckdb.connect(str(bench.work / "copy.duckdb")) as db:
            db.execute(f"CREATE OR REPLACE TABLE cpu_csv ({types})")
            seconds, _ = timed(lambda: (db.execute(f"COPY cpu_csv FROM '{bench.csv}' (FORMAT csv, HEADER false)"), db.execute("CHECKPOINT")))
        rates["duckdb, in process"] = bench.csv_rows / seconds
    if bench.chdb:
        from chdb import session
        db = session.Session(str(bench.work / "copy.chdb"))
        db.query("DROP DATABASE IF EXISTS bench")
        db.query("CREATE DATABASE bench ENGINE = Atomic")
        db.query("CREATE TABLE bench.cpu_csv (ts DateTime64(6), hostname String, region String, a Float64, b Float64, c Float64, "
                 "d Float64, e Float64) ENGINE = MergeTree ORDER BY ts")
        seconds, _ = timed(lambda: db.query(f"INSERT INTO bench.cpu_csv SELECT * FROM file('{bench.csv}', CSV)"))
        rates["chdb, in process"] = bench.csv_rows / seconds
        db.close()
    ours = rates.pop("tidemill")
    for peer, rate in rates.items():
        goal = "≥ 1.2 M/s, ≥ 2.5" if peer == "postgresql" else "stretch ≥ 1"
        bench.report.add("COPY, rows/s", f"{ours / 1e6:.2f} M", peer, f"{rate / 1e6:.2f} M", ours / rate, goal)
    if not rates:
        bench.report.add("COPY, rows/s", f"{ours / 1e6:.2f} M", "", "", None, "≥ 1.2 M/s")


def pgbench(server, script, clients, seconds, prepared):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(["pgbench", "-n", "-c", str(clients), "-j", "2", "-T", str(seconds), "-f", file.name, "-M",
                               "prepared" if prepared else "simple"], env=server.env, text=True, capture_output=True)
    match = re.search(r"tps = ([\d.]+)", done.stdout)
    if not match:
        raise RuntimeError(f"{server.name}: {done.stderr[-500:]}")
    return float(match[1])


def against_postgres(bench, what, measure, unit, goal):
    rates = {server.name: measure(server) for server in bench.servers()}
    ours, theirs = rates["tidemill"], rates.get("postgresql")
    bench.report.add(what, f"{ours:,.0f} {unit}", "postgresql" if theirs else "", f"{theirs:,.0f} {unit}" if theirs else "",
                     ours / theirs if theirs else None, goal)


def insert(bench):
    def measure(server):
        server.psql("DROP TABLE IF EXISTS one_row; CREATE TABLE one_row (id int, at timestamptz, v float8)")
        script = "\\set id random(1, 1000000)\nINSERT INTO one_row VALUES (:id, now(), :id / 3.0);\n"
        return pgbench(server, script, 32, bench.seconds, False)
    against_postgres(bench, "INSERT, one row each, 32 clients, fsync on", measure, "/s", "≥ 1.5")


def prepared(bench):
    measure = lambda server: pgbench(server, "SELECT 1;\n", 1, bench.seconds, True)
    against_postgres(bench, "SELECT 1, prepared, one connection", measure, "/s", "≥ 0.7")


def load(bench):
    """The big table, compacted; once."""
    if bench.loaded:
        return
    bench.loaded = True
    ours = bench.tidemill
    ours.psql(f"DROP TABLE IF EXISTS cpu; CREATE TABLE cpu ({SCHEMA})")
    seconds, _ = timed(lambda: ours.psql(f"COPY cpu FROM '{bench.parquet}' (FORMAT parquet)"))
    note(f"tidemill loaded {bench.rows} rows from Parquet in {seconds:.1f} s")
    seconds, _ = timed(lambda: ours.psql("VACUUM FULL cpu"))
    note(f"tidemill compacted in {seconds:.1f} s")
    if bench.duckdb:
        bench.db = bench.duckdb.connect(str(bench.work / "cpu.duckdb"))
        bench.db.execute(f"CREATE TABLE cpu AS SELECT * FROM read_parquet('{bench.parquet}') ORDER BY ts")
        bench.db.execute("CHECKPOINT")


def same(ours, theirs):
    """Equal rows; floating-point sums depend on the order of their terms."""
    def equal(a, b):
        return math.isclose(a, b, rel_tol=1e-9) if isinstance(a, float) and isinstance(b, float) else a == b
    return len(ours) == len(theirs) and all(len(a) == len(b) and all(map(equal, a, b)) for a, b in zip(ours, theirs))


def queries(bench):
    load(bench)
    connection = bench.tidemill.connect()
    fusion = None
    if bench.datafusion:
        fusion = bench.datafusion.SessionContext()
        fusion.register_parquet("cpu", str(bench.parquet))
    ratios, plain = [], []
    for path in sorted((HERE / "queries").glob("*.sql")):
        sql = path.read_text().strip().format(middle=bench.middle)
        cursor = connection.cursor(binary=True)
        runs = {"tidemill": lambda: cursor.execute(sql).fetchall()}
        if bench.duckdb:
            runs["duckdb"] = lambda: bench.db.execute(sql).fetchall()
        if fusion:
            runs["datafusion"] = lambda: fusion.sql(sql).collect()
        times, answers = {name: [] for name in runs}, {}
        # Alternating, so that a busy moment hits all of them; the first round warms up.
        for round_number in range(bench.rounds + 1):
            for name, run in runs.items():
                seconds, answers[name] = timed(run)
                if round_number:
                    times[name].append(seconds * 1000)
        best = {name: min(values) for name, values in times.items()}
        if "duckdb" in runs and "ORDER BY ts DESC LIMIT" not in sql:
            assert same(answers["tidemill"], answers["duckdb"]), f"{path.name}: the answers differ"
        ratio = best["tidemill"] / best["duckdb"] if "duckdb" in best else None
        if ratio:
            ratios.append(ratio)
        if "datafusion" in best:
            plain.append(best["tidemill"] / best["datafusion"])
        others = ", ".join(f"{name} {best[name]:.1f} ms" for name in best if name != "tidemill")
        bench.report.add(path.stem, f"{best['tidemill']:.1f} ms", others, "", ratio)
    mean = lambda values: math.exp(statistics.fmean(map(math.log, values)))
    if ratios:
        bench.report.add("the nine, geometric mean of time ÷ peer's", "", "duckdb", "", mean(ratios), "≤ 1.0, stretch 0.7")
    if plain:
        bench.report.add("the nine, geometric mean of time ÷ peer's", "", "datafusion", "", mean(plain), "")
    connection.close()


def select(bench):
    """Every row to psql; the server's memory while it answers."""
    load(bench)
    rates = {}
    for server in bench.servers():
        if server.name == "postgresql":
            server.psql(f"DROP TABLE IF EXISTS cpu; CREATE TABLE cpu ({SCHEMA})")
            out = subprocess.Popen(["psql", "-XqAt", "-c", "COPY cpu TO STDOUT"], env=bench.tidemill.env, stdout=subprocess.PIPE)
            subprocess.run(["psql", "-Xq", "-c", "\\copy cpu FROM STDIN"], env=server.env, stdin=out.stdout, check=True)
        idle, peak, stop = server.resident(), [0], threading.Event()

        def watch():
            while not stop.wait(0.02):
                peak[0] = max(peak[0], server.resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        # FETCH_COUNT would use a cursor; psql itself holds the result otherwise, so a client that only counts is used.
        seconds, count = timed(lambda: drain(server, "SELECT * FROM cpu"))
        stop.set()
        watcher.join()
        assert count == bench.rows
        rates[server.name] = count / seconds
        if server.name == "tidemill":
            grown = max(peak[0] - idle, 0)
            bench.report.add(f"SELECT * of {bench.rows:,} rows, server memory above idle", f"{grown >> 20} MB", "", "", None, "≤ 256 MB")
    ours, theirs = rates["tidemill"], rates.get("postgresql")
    bench.report.add("SELECT *, rows/s", f"{ours / 1e6:.2f} M", "postgresql" if theirs else "", f"{theirs / 1e6:.2f} M" if theirs else "",
                     ours / theirs if theirs else None, "≥ 1")


def drain(server, sql):
    """Reads a result by the simple protocol as fast as bytes come, and counts its rows by the command tag."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        body = b"\0\x03\0\0user\0" + server.env["PGUSER"].encode() + b"\0database\0" + server.env["PGDATABASE"].encode() + b"\0\0"
        connection.sendall((len(body) + 4).to_bytes(4, "big") + body)
        tail = b""
        while not tail.endswith(b"Z\0\0\0\x05I"):
            tail = (tail + connection.recv(65536))[-6:]
        text = sql.encode() + b"\0"
        connection.sendall(b"Q" + (len(text) + 4).to_bytes(4, "big") + text)
        buffer, tail = bytearray(1 << 20), b""
        while not tail.endswith(b"Z\0\0\0\x05I"):
            count = connection.recv_into(buffer)
            if not count:
                raise RuntimeError("the server hung up")
            tail = (tail + bytes(buffer[max(0, count - 100):count]))[-100:]
        match = re.search(rb"SELECT (\d+)\0", tail)
        if not match:
            raise RuntimeError(f"{server.name}: {tail!r}")
        return int(match[1])


def disk(bench):
    load(bench)
    narrow = ", ".join(["ts", "hostname", "region", *(f"{name}::float4::float8" for name in COLUMNS[3:])])
    # Decimals of two digits suit DuckDB's encoding of floats best; values of 32-bit sensors are the other common kind.
    bench.tidemill.psql(f"DROP TABLE IF EXISTS cpu32; CREATE TABLE cpu32 ({SCHEMA}); INSERT INTO cpu32 SELECT {narrow} FROM cpu")
    bench.tidemill.psql("VACUUM FULL cpu32")
    if bench.duckdb:
        with bench.duckdb.connect(str(bench.work / "cpu32.duckdb")) as db:
            source = narrow.replace("float4", "float").replace("float8", "double")
            db.execute(f"CREATE TABLE cpu32 AS SELECT {source} FROM read_parquet('{bench.parquet}') ORDER BY ts")
            db.execute("CHECKPOINT")
        bench.db.execute("CHECKPOINT")
    for table, kind in [("cpu", "two digits"), ("cpu32", "32-bit floats")]:
        ours = int(bench.tidemill.psql(f"SELECT sum(bytes) FROM tidemill.files WHERE \"table\" = '{table}'"))
        theirs = (bench.work / f"{table}.duckdb").stat().st_size if bench.duckdb else None
        bench.report.add(f"bytes on disk after compaction, {kind}", f"{ours >> 20} MB", "duckdb" if theirs else "",
                         f"{theirs >> 20} MB" if theirs else "", ours / theirs if theirs else None, "≤ 0.6")


def restart(bench):
    """kill -9 with about 1 GB of log that must be replayed."""
    directory = bench.work / "restart"
    server = Tidemill(bench.binary, directory, ["--wal-max", "4GB"])
    server.psql(f"CREATE TABLE cpu ({SCHEMA}) WITH (tidemill.flush_interval = '1d', tidemill.flush_bytes = '16GB')")
    rows = 0
    size = lambda: sum(path.stat().st_size for path in (directory / "wal").glob("*"))
    # Small COPYs: a large one goes to files at once.
    piece = bench.work / "piece.csv"
    with open(bench.csv, encoding="utf-8") as source:
        piece.write_text("".join(next(source) for _ in range(min(50_000, bench.csv_rows))))
    while size() < bench.wal_bytes and rows < 100_000_000:
        server.psql(f"\\copy cpu FROM '{piece}' (FORMAT csv)")
        rows += min(50_000, bench.csv_rows)
    note(f"{size() >> 20} MB of log, {rows} rows")
    server.stop(kill=True)
    seconds, count = timed(lambda: (server.start(), server.psql("SELECT count(*) FROM cpu"))[1])
    assert int(count) == rows, f"{count} of {rows} rows"
    bench.report.add(f"restart after kill -9 with {size() >> 20} MB of log, to the first answer", f"{seconds:.1f} s", "", "", None, "< 10 s")
    server.stop()


class Bench:
    def __init__(self, arguments, work):
        self.work, self.binary, self.rows = work, arguments.binary, arguments.rows
        self.seconds, self.rounds, self.wal_bytes = arguments.seconds, arguments.rounds, arguments.wal_mb << 20
        self.report, self.loaded, self.db = Report(), False, None
        self.duckdb, self.chdb, self.datafusion = optional("duckdb"), optional("chdb"), optional("datafusion")
        self.parquet, self.csv, self.csv_rows, self.middle = generate(arguments.rows, work)
        os.chmod(work, 0o755)
        self.tidemill = Tidemill(self.binary, work / "tidemill")
        postgres = find_postgres()
        self.postgres = Postgres(postgres, work / "postgres") if postgres else None

    def servers(self):
        return [server for server in (self.tidemill, self.postgres) if server]

    def close(self):
        for server in self.servers():
            with contextlib.suppress(Exception):
                server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    every = MEASURES + INGEST + SERIES + CLIENTS
    parser.add_argument("--only", default=",".join(every), help=f"of {','.join(every)}")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "tidemill"))
    parser.add_argument("--rounds", type=int, default=5, help="of each query, after one to warm up; the best counts")
    parser.add_argument("--seconds", type=int, default=10, help="of each pgbench run")
    parser.add_argument("--wal-mb", type=int, default=1024)
    parser.add_argument("--work", help="folder for data, default: a temporary one")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := set(only) - set(every):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    into_venv()
    if not os.access(arguments.binary, os.X_OK):
        parser.error(f"{arguments.binary} is not there: cargo build --release")
    work = pathlib.Path(tempfile.mkdtemp(prefix="tidemill-bench-", dir=arguments.work))
    bench, failed = None, []
    try:
        bench = Bench(arguments, work)
        for name in only:
            note(f"--- {name}")
            try:
                module = "ingest" if name in INGEST else "series" if name in SERIES else "clients"
                measure = globals().get(name) or getattr(__import__(module), name)
                measure(bench)
            except Exception as error:  # One broken measure must not hide the others.
                failed.append(name)
                note(f"!!! FAILED {name}: {error}")
        bench.report.print("benches/run.py " + " ".join(sys.argv[1:]))
    finally:
        if bench:
            bench.close()
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
