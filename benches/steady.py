#!/usr/bin/env python3
"""A steady stream of line protocol for minutes, while queries read the last minute: does the server keep up?

    python3 benches/steady.py                               # 1 M rows/s for 600 s, release build
    python3 benches/steady.py --rate 20000 --seconds 20 --binary target/debug/tidemill

100,000 sensors on eight connections report in turn, each with one request at a time. Twice a second somebody looks at one of them, second by
second, as dashboards do; every ten seconds at all 60 million rows of the minute. Prints at intervals, and in the end: rows per second, p50 and
p99 of the first query, p50 of the second, the server's memory, files and those of them that are not merged yet.
"""
import argparse
import http.client
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time

from run import ROOT, Tidemill, into_venv, note

CLIENTS = 8
# The time that stands in prepared bodies until they are sent: as many digits as one of now.
THEN = b" 1704067200000000000\n"
ONE = ("SELECT time_bucket('1 s', time), count(*), avg(temperature), max(humidity) FROM sensors WHERE device = 'd{device}' "
       "AND time > now() - interval '1 minute' GROUP BY 1 ORDER BY 1")
ALL = ("SELECT site, count(*), avg(temperature), max(humidity) FROM sensors WHERE time > now() - interval '1 minute' "
       "GROUP BY site ORDER BY site")
ONE_EVERY, ALL_EVERY = 0.5, 10


class Load:
    """What clients and queries have done so far."""

    def __init__(self, server, arguments):
        self.server, self.rate, self.series, self.batch = server, arguments.rate, arguments.series, arguments.batch
        self.stop, self.lock, self.failures = threading.Event(), threading.Lock(), []
        self.rows, self.late, self.spent, self.spent_on_all = 0, 0.0, [], []

    def bodies(self, client):
        """A client's sensors, as requests that come one after the other."""
        own = range(client * self.series // CLIENTS, (client + 1) * self.series // CLIENTS)
        for first in range(0, len(own), self.batch):
            numbers = own[first:first + self.batch]
            lines = (f"sensors,device=d{number},site=s{number % 40} temperature={20 + number % 100 / 10},humidity={number % 101}i,"
                     f"voltage={3 + number % 7 / 10}".encode() + THEN for number in numbers)
            yield b"".join(lines), len(numbers)

    def write(self, client):
        bodies = list(self.bodies(client))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=600)
        due, at = time.monotonic(), 0
        while not self.stop.is_set():
            body, rows = bodies[at % len(bodies)]
            at += 1
            body = body.replace(THEN, f" {time.time_ns()}\n".encode())
            connection.request("POST", "/api/v2/write?bucket=tidemill", body)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 204, (answer.status, text[:300])
            due += rows * CLIENTS / self.rate
            wait = due - time.monotonic()
            with self.lock:
                self.rows += rows
                self.late = max(self.late, -wait)
            self.stop.wait(max(wait, 0))
        connection.close()

    def query(self, every, sql, times):
        with self.server.connect() as connection:
            asked = 0
            while not self.stop.is_set():
                began = time.monotonic()
                asked += 1
                connection.execute(sql.format(device=asked * 7919 % self.series)).fetchall()
                spent = time.monotonic() - began
                with self.lock:
                    times.append(spent)
                self.stop.wait(max(every - spent, 0))

    def run(self, work):
        try:
            work()
        except Exception as error:
            self.failures.append(error)
            self.stop.set()


def quantile(values, part):
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] if values else float("nan")


def state(server):
    """Files, those not merged yet, rows that are in no file."""
    counted = server.psql("SELECT count(*), count(*) FILTER (WHERE level = 0) FROM tidemill.files WHERE \"table\" = 'sensors'")
    hot = server.psql("SELECT hot_rows FROM tidemill.tables WHERE name = 'sensors'")
    return [int(number) for number in (*counted.split("|"), hot or 0)]


def measure(server, arguments):
    load = Load(server, arguments)
    # The table is made by the first line.
    first = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    first.request("POST", "/api/v2/write?bucket=tidemill", b"sensors,device=d,site=s temperature=1,humidity=1i,voltage=1\n")
    assert first.getresponse().status == 204
    works = [lambda client=client: load.write(client) for client in range(CLIENTS)]
    works += [lambda: load.query(ONE_EVERY, ONE, load.spent), lambda: load.query(ALL_EVERY, ALL, load.spent_on_all)]
    threads = [threading.Thread(target=load.run, args=[work]) for work in works]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    print("| s | rows/s | one sensor, p50 | p99 | all, p50 | memory | files | not merged | hot rows |\n|---|---|---|---|---|---|---|---|---|")
    seen, queried, then, residents, unmerged = 0, 0, began, [], []
    while time.monotonic() - began < arguments.seconds and not load.stop.wait(min(arguments.interval, arguments.seconds)):
        now = time.monotonic()
        with load.lock:
            rows, spent, on_all = load.rows, load.spent[queried:], load.spent_on_all[-1:]
        rate = (rows - seen) / (now - then)
        files, level_0, hot = state(server)
        residents.append(server.resident())
        unmerged.append(level_0)
        print(f"| {now - began:.0f} | {rate:,.0f} | {quantile(spent, 0.5) * 1e3:.0f} ms | {quantile(spent, 0.99) * 1e3:.0f} ms "
              f"| {quantile(on_all, 0.5) * 1e3:.0f} ms | {residents[-1] >> 20} MB | {files} | {level_0} | {hot:,} |", flush=True)
        seen, queried, then = rows, queried + len(spent), now
    took = time.monotonic() - began
    load.stop.set()
    for thread in threads:
        thread.join()
    if load.failures:
        raise load.failures[0]
    stored = int(server.psql("SELECT count(*) FROM sensors"))
    assert stored == load.rows + 1, f"{stored} of {load.rows + 1} rows"
    half = len(residents) // 2
    print(f"\n{load.rows / took:,.0f} rows/s of {arguments.rate:,} wanted for {took:.0f} s, at most {load.late:.1f} s behind; all {stored:,} rows are there")
    print(f"all rows of the last minute, {len(load.spent_on_all)} times: p50 {quantile(load.spent_on_all, 0.5) * 1e3:.0f} ms, "
          f"p99 {quantile(load.spent_on_all, 0.99) * 1e3:.0f} ms")
    print(f"one sensor in the last minute, {len(load.spent)} times: p50 {quantile(load.spent, 0.5) * 1e3:.0f} ms, "
          f"p99 {quantile(load.spent, 0.99) * 1e3:.0f} ms (wanted < 300 ms)")
    if half:
        print(f"memory: at most {max(residents[:half]) >> 20} MB in the first half, {max(residents[half:]) >> 20} MB in the second (wanted: flat)")
        print(f"files not merged: at most {max(unmerged[:half])} in the first half, {max(unmerged[half:])} in the second (wanted: no more)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=int, default=1_000_000, help="rows per second, of all connections together")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=12_500, help="lines of a request")
    parser.add_argument("--interval", type=int, default=10, help="seconds between lines of the table")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "tidemill"))
    parser.add_argument("--work", help="folder for data, default: a temporary one")
    arguments = parser.parse_args()
    into_venv()
    if not os.access(arguments.binary, os.X_OK):
        parser.error(f"{arguments.binary} is not there: cargo build --release")
    work = pathlib.Path(tempfile.mkdtemp(prefix="tidemill-bench-", dir=arguments.work))
    server = None
    try:
        server = Tidemill(arguments.binary, work / "tidemill")
        note(f"{arguments.rate:,} rows/s for {arguments.seconds} s")
        measure(server, arguments)
    finally:
        if server:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
