"""Object storage: COPY and sources against moto's S3, a server that denies, one that hangs, and files at http://.
Usage: objects_check.py BINARY"""
import contextlib
import gzip
import http.server
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import boto3
import psycopg
from moto.server import ThreadedMotoServer

BINARY = sys.argv[1]
PATIENCE = 60
SECRET = "secret-of-the-test"


class Server:
    """A server on a data directory of its own, without credentials in its environment."""

    def __init__(self, data):
        self.data = data
        self.start()

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG"))}
        self.log = open(f"{self.data}.log", "ab")
        arguments = [BINARY, "serve", "--data-dir", self.data, "--pg-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        for line in self.process.stdout:
            if found := re.search(r" listens on 127\.0\.0\.1:(\d+),", line):
                self.port = int(found[1])
                return
        raise AssertionError("the server did not start")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def connect(self):
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=tidemill dbname=tidemill", autocommit=True)


def rows(connection, sql):
    return connection.execute(sql).fetchall()


def wait_for(connection, sql, expected):
    deadline = time.monotonic() + PATIENCE
    while (found := rows(connection, sql)) != expected:
        state = rows(connection, "SELECT state, files, failed_files, last_error FROM tidemill.sources")
        assert time.monotonic() < deadline, (sql, found, expected, state)
        time.sleep(0.1)


def fails(connection, sql, code):
    try:
        connection.execute(sql)
    except psycopg.Error as error:
        assert error.sqlstate == code, (sql, error.sqlstate, error.diag.message_primary, error.diag.message_detail)
        text = f"{error.diag.message_primary} {error.diag.message_detail} {error.diag.message_hint}"
        assert SECRET not in text, text
        return text
    raise AssertionError(f"no error: {sql}")


def lines(*documents):
    return "".join(json.dumps(document) + "\n" for document in documents).encode()


def options(endpoint):
    return (f"aws_access_key_id 'id', aws_secret_access_key '{SECRET}', aws_region 'us-east-1', "
            f"aws_endpoint '{endpoint}', aws_allow_http 'true'")


def copies(connection, s3, store):
    put = lambda key, body: s3.put_object(Bucket="lake", Key=key, Body=body)
    connection.execute("CREATE TABLE t (id bigint, name text)")
    put("in/1.ndjson", lines({"id": 1, "name": "a"}, {"id": 2, "name": "b"}))
    put("in/2.ndjson.gz", gzip.compress(lines({"id": 3}, {"id": "x"})))
    put("in/deeper/3.ndjson", lines({"id": 4}))
    put("in/4.csv", b"id,name\n5,five\n")
    tag = connection.execute(f"COPY t FROM 's3://lake/in/*.ndjson*' WITH (FORMAT ndjson, {store})").statusmessage
    assert tag == "COPY 3", tag
    assert rows(connection, "SELECT source, line FROM tidemill.dead_letters") == [("file s3://lake/in/2.ndjson.gz", 2)]
    connection.execute(f"COPY t FROM 's3://lake/in/**/3.ndjson' WITH (FORMAT json, {store})")
    connection.execute(f"COPY t FROM 's3://lake/in/4.csv' WITH (FORMAT csv, HEADER, {store})")
    assert rows(connection, "SELECT id FROM t ORDER BY id") == [(n,) for n in range(1, 6)]

    # Many ranges of one object, packed and not, and as Parquet; there and back.
    connection.execute("CREATE TABLE big AS SELECT n::bigint AS id, md5(n::text) || md5((n + 1)::text) AS name FROM generate_series(1, 300000) AS g(n)")
    same = "SELECT count(*), count(DISTINCT id), sum(id), min(name), max(name) FROM "
    expected = rows(connection, same + "big")
    for name, form in [("big.csv", "FORMAT csv"), ("big.parquet", "FORMAT parquet"), ("big.bin", "FORMAT binary")]:
        tag = connection.execute(f"COPY big TO 's3://lake/out/{name}' WITH ({form}, {store})").statusmessage
        assert tag == "COPY 300000", tag
        connection.execute("CREATE TABLE back (id bigint, name text)")
        tag = connection.execute(f"COPY back FROM 's3://lake/out/{name}' WITH ({form}, {store})").statusmessage
        assert tag == "COPY 300000", tag
        assert rows(connection, same + "back") == expected
        connection.execute("DROP TABLE back")
    body = s3.get_object(Bucket="lake", Key="out/big.csv")["Body"].read()
    assert len(body) > 16 << 20, len(body)
    put("out/big.csv.gz", gzip.compress(body, 1))
    connection.execute("CREATE TABLE back (id bigint, name text)")
    connection.execute(f"COPY back FROM 's3://lake/out/big.csv.gz' WITH (FORMAT csv, {store})")
    assert rows(connection, same + "back") == expected
    # What fails leaves neither rows nor an object.
    put("out/torn.csv.gz", gzip.compress(body, 1)[:-100_000])
    fails(connection, f"COPY back FROM 's3://lake/out/torn.csv.gz' WITH (FORMAT csv, {store})", "22P04")
    assert rows(connection, same + "back") == expected
    fails(connection, f"COPY (SELECT 1 / (id - 250000) FROM big) TO 's3://lake/out/none.csv' WITH (FORMAT csv, {store})", "22012")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="lake", Prefix="out/")["Contents"]]
    assert keys == ["out/big.bin", "out/big.csv", "out/big.csv.gz", "out/big.parquet", "out/torn.csv.gz"], keys
    put("in/empty.csv", b"")
    assert connection.execute(f"COPY t FROM 's3://lake/in/empty.csv' WITH (FORMAT csv, {store})").statusmessage == "COPY 0"

    for url, code in [("s3://lake/none.csv", "58P01"), ("s3://lake/none/*.csv", "58P01"), ("s3://nosuch/x.csv", "58P01"),
                      ("s3:///x.csv", "22023"), ("s3://lake/", "22023")]:
        fails(connection, f"COPY t FROM '{url}' WITH (FORMAT csv, {store})", code)
    fails(connection, f"COPY t FROM 's3://lake/in/4.csv' WITH (FORMAT csv, {store}, aws_speed 'fast')", "22023")
    fails(connection, f"COPY t FROM 's3://lake/in/4.csv' WITH (FORMAT csv, {store}, google_x 'y')", "42601")
    fails(connection, f"COPY t TO 's3://lake/out/' WITH (FORMAT csv, {store})", "22023")
    fails(connection, f"COPY t FROM 's3://lake/in/1.ndjson' WITH (FORMAT parquet, {store})", "22P04")
    # Only who may read the server's files.
    connection.execute("CREATE ROLE objects_reader")
    connection.execute("SET ROLE objects_reader")
    fails(connection, f"COPY t FROM 's3://lake/in/4.csv' WITH (FORMAT csv, {store})", "42501")
    connection.execute("RESET ROLE")
    # Others do not see the secret, the statement they do.
    shown = rows(connection, f"SELECT query /* aws_secret_access_key '{SECRET}' */ FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    assert "aws_secret_access_key '********'" in shown[0][0], shown


def sources(server, s3, store):
    put = lambda key, body: s3.put_object(Bucket="lake", Key=key, Body=body)
    connection = server.connect()
    connection.execute("CREATE TABLE events (id text) WITH (tidemill.evolve = 'add_columns')")
    put("events/2026/1.json", b'[{"id": "a"}, {"id": "b", "color": "red"}]')
    put("events/2.ndjson.gz", gzip.compress(lines({"id": "c"})))
    put("events/torn.ndjson.gz", gzip.compress(lines({"id": "torn"}))[:-9])
    put("events/_SUCCESS", b"")
    put("events/_temporary/x.json", b'{"id": "temporary"}')
    put("events/README.txt", b"nothing to load")
    put("eventsother/x.json", b'{"id": "other"}')
    connection.execute(f"CREATE SOURCE inbox FROM FILES ('s3://lake/events/') (every '200ms', {store}) INTO events")
    ids = "SELECT string_agg(id, ' ' ORDER BY id) FROM events"
    status = "SELECT state, files, failed_files, rows FROM tidemill.sources"
    wait_for(connection, status, [("running", 2, 1, 3)])
    assert rows(connection, ids) == [("a b c",)]
    assert "torn.ndjson.gz" in rows(connection, "SELECT last_error FROM tidemill.sources")[0][0]
    shown = rows(connection, "SELECT options::text FROM tidemill.sources")[0][0]
    assert SECRET not in shown and "aws_secret_access_key=********" in shown and "url=s3://lake/events/" in shown, shown
    # The server is killed, objects come, one is mended: each is taken in once.
    connection.close()
    server.stop(signal.SIGKILL)
    put("events/3.csv", b"id,color\nd,blue\n")
    put("events/torn.ndjson.gz", gzip.compress(lines({"id": "mended"})))
    server.start()
    connection = server.connect()
    wait_for(connection, status, [("running", 4, 0, 5)])
    assert rows(connection, ids) == [("a b c d mended",)]
    # Parquet, and more objects than one page of a listing has.
    connection.execute(f"COPY (SELECT 'p' AS id) TO 's3://lake/events/4.parquet' WITH ({store})")
    for number in range(1_050):
        put(f"events/many/{number}.json", lines({"id": f"m{number}"}))
    wait_for(connection, "SELECT count(*), count(DISTINCT id) FROM events", [(1_056, 1_056)])
    # An object is known by its URL.
    put("events/3.csv", b"id,color\nz,green\n")
    wait_for(connection, "SELECT count(*) FROM tidemill.sources WHERE last_error LIKE '%3.csv%was changed after%'", [(1,)])
    # A store that is away is waited for.
    connection.execute("CREATE TABLE other (id text)")
    connection.execute(f"CREATE SOURCE away FROM FILES ('s3://nosuch/*.json') (every '200ms', {store}) INTO other")
    wait_for(connection, "SELECT state FROM tidemill.sources WHERE name = 'away'", [("failed",)])
    s3.create_bucket(Bucket="nosuch")
    s3.put_object(Bucket="nosuch", Key="1.json", Body=b'{"id": "at last"}')
    wait_for(connection, "SELECT id FROM other", [("at last",)])
    assert rows(connection, "SELECT count(*), count(DISTINCT id) FROM events") == [(1_056, 1_056)]
    connection.execute("DROP SOURCE away")
    connection.execute("DROP SOURCE inbox")
    fails(connection, "CREATE SOURCE web FROM FILES ('https://host/x.json') INTO other", "0A000")
    fails(connection, f"CREATE SOURCE odd FROM FILES ('s3://lake/x') ({store}, aws_speed 'fast') INTO other", "22023")
    connection.close()


class Odd(http.server.BaseHTTPRequestHandler):
    """Denies, hangs, or sends a file."""

    hangs = threading.Event()

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path)
        if path.path.startswith("/denied"):
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>not for you</Message></Error>")
        elif path.path.startswith("/hangs"):
            self.hangs.wait(PATIENCE)
        elif path.path == "/a b.csv" or path.path == "/a%20b.csv":
            assert path.query == "sig=x", path
            self.answer(200, b"7,seven\n")
        elif path.path == "/big.csv.gz":
            self.answer(200, gzip.compress(b"".join(b"%d,%064d\n" % (n, n) for n in range(100_000)), 1))
        else:
            self.answer(404, b"")

    do_HEAD = do_GET

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def odd_servers(server):
    odd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=odd.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{odd.server_port}"
    connection = server.connect()
    connection.execute("CREATE TABLE w (id bigint, name text)")
    connection.execute(f"COPY w FROM '{base}/a%20b.csv?sig=x' WITH (FORMAT csv)")
    connection.execute(f"COPY w FROM '{base}/big.csv.gz' WITH (FORMAT csv)")
    assert rows(connection, "SELECT count(*), max(id), max(length(name)) FROM w") == [(100_001, 99_999, 64)]
    fails(connection, f"COPY w FROM '{base}/none.csv' WITH (FORMAT csv)", "58P01")
    fails(connection, f"COPY w FROM '{base}/*.csv' WITH (FORMAT csv)", "0A000")
    fails(connection, f"COPY w TO '{base}/x.csv' WITH (FORMAT csv)", "0A000")
    said = fails(connection, f"COPY w FROM 's3://denied/*.csv' WITH (FORMAT csv, {options(base)})", "42501")
    assert "not for you" in said, said
    started = time.monotonic()
    fails(connection, f"COPY w FROM 's3://lake/x.csv' WITH (FORMAT csv, {options('http://127.0.0.1:1')})", "08001")
    assert time.monotonic() - started < PATIENCE, "retries are bounded"
    # A statement that waits for a store can be cancelled.
    threading.Timer(1, connection.cancel).start()
    started = time.monotonic()
    fails(connection, f"COPY w FROM 's3://hangs/x.csv' WITH (FORMAT csv, {options(base)})", "57014")
    assert time.monotonic() - started < 10
    connection.execute("SET statement_timeout = '1s'")
    fails(connection, f"COPY w FROM '{base}/hangs' WITH (FORMAT csv)", "57014")
    connection.close()
    Odd.hangs.set()
    odd.shutdown()


def main():
    # A line for each request would hide what is wrong.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        host, port = moto.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key=SECRET)
        s3.create_bucket(Bucket="lake")
        server = Server(os.path.join(folder, "data"))
        stack.callback(server.stop)
        connection = server.connect()
        copies(connection, s3, options(endpoint))
        connection.close()
        sources(server, s3, options(endpoint))
        odd_servers(server)
        with open(os.path.join(folder, "data.log")) as log:
            text = log.read()
        assert SECRET not in text, "the log has the secret"
        assert "panic" not in text, text[-5_000:]


main()
print("objects: COPY from and to S3, sources, packed and damaged objects, restarts, denials, cancel")
