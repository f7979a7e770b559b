"""influxdb-client (version 2) and influxdb (version 1), unmodified: batches, precisions, gzip, errors.
Usage: influxdb_check.py HTTP_PORT"""
import datetime as dt
import sys

import psycopg
from influxdb import InfluxDBClient as ClientV1
from influxdb.exceptions import InfluxDBClientError
from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

PORT = int(sys.argv[1])
START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)


def one(sql):
    with psycopg.connect("", autocommit=True) as connection:
        return connection.execute(sql).fetchone()


def version_2():
    for gzip in (False, True):
        measurement = f"v2_{gzip}".lower()
        with InfluxDBClient(f"http://127.0.0.1:{PORT}", token="tidemill:any", org="any", enable_gzip=gzip) as client:
            assert client.ping(), "GET /ping"
            assert client.health().status == "pass", client.health()
            failures = []
            options = WriteOptions(batch_size=500, flush_interval=1_000)
            with client.write_api(write_options=options, error_callback=lambda *why: failures.append(why)) as write:
                for number in range(1_234):
                    point = Point(measurement).tag("host", f"h {number % 7}").field("usage", number / 2)
                    point.field("count", number).field("ok", number % 2 == 0).field("note", 'a "b", c')
                    write.write("tidemill", record=point.time(START + dt.timedelta(seconds=number)))
            assert not failures, failures
            expected = (1_234, 7, 616.5, 617, START, START + dt.timedelta(seconds=1_233))
            found = one(f"SELECT count(*), count(DISTINCT host), max(usage), count(*) FILTER (WHERE ok), min(time), max(time) FROM {measurement}")
            assert found == expected, found
            assert one(f"SELECT DISTINCT note FROM {measurement}") == ('a "b", c',)
            write = client.write_api(write_options=SYNCHRONOUS)
            units = {WritePrecision.S: 1, WritePrecision.MS: 10**3, WritePrecision.US: 10**6, WritePrecision.NS: 10**9}
            for precision, per_second in units.items():
                time = int(START.timestamp()) * per_second
                write.write("tidemill", record=f"{measurement}_p,unit={precision} v=1 {time}", write_precision=precision)
            assert one(f"SELECT count(*), min(time), max(time) FROM {measurement}_p") == (4, START, START)
            # A point that does not fit is told of; the others are there.
            try:
                write.write("tidemill", record=[f'{measurement} usage="text"', f"{measurement} usage=1"])
                raise AssertionError("no error")
            except ApiException as error:
                assert error.status == 422 and "dropped=1" in error.message, (error.status, error.message)
            assert one(f"SELECT count(*) FROM {measurement}") == (1_235,)
            try:
                write.write("nosuch", record=f"{measurement} usage=1")
                raise AssertionError("no error")
            except ApiException as error:
                assert error.status == 404, error.status


def version_1():
    for gzip in (False, True):
        measurement = f"v1_{gzip}".lower()
        client = ClientV1("127.0.0.1", PORT, "tidemill", "any", "tidemill", gzip=gzip)
        assert client.ping().startswith("tidemill-"), client.ping()
        points = [
            {"measurement": measurement, "tags": {"host": f"h{number % 3}"}, "time": START + dt.timedelta(seconds=number),
             "fields": {"usage": number / 4, "count": number, "text": "ünï \\ \" ,="}}
            for number in range(1_000)
        ]
        assert client.write_points(points, batch_size=300)
        assert client.write_points(points[:1], time_precision="s", tags={"extra": "x"})
        assert one(f"SELECT count(*), max(usage), count(extra), min(time) FROM {measurement}") == (1_001, 249.75, 1, START)
        assert one(f"SELECT DISTINCT text FROM {measurement}") == ('ünï \\ " ,=',)
        try:
            client.write_points([{"measurement": measurement, "fields": {"usage": "text"}}])
            raise AssertionError("no error")
        except InfluxDBClientError as error:
            assert error.code == 400 and "partial write" in str(error), error


version_2()
version_1()
print("influxdb-client and influxdb: fine")
