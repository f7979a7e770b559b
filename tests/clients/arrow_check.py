"""pyarrow: rows of /v1/sql as an Arrow stream, tables into /v1/ingest as Parquet, stream and file.
Usage: arrow_check.py HTTP_PORT"""
import datetime as dt
import decimal
import io
import json
import sys
import urllib.request

import pyarrow as pa
import pyarrow.parquet as pq

BASE = f"http://127.0.0.1:{sys.argv[1]}"


def post(path, body, content="text/plain"):
    request = urllib.request.Request(BASE + path, body, {"Content-Type": content})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def sql(text, form="json"):
    return post(f"/v1/sql?format={form}", text.encode())


def main():
    table = pa.table({
        "id": pa.array(range(100_000), pa.int64()),
        "name": pa.array([f"n{n % 10}" for n in range(100_000)]).dictionary_encode(),
        "at": pa.array([dt.datetime(2026, 1, 1) + dt.timedelta(seconds=n) for n in range(100_000)], pa.timestamp("ns", "UTC")),
        "price": pa.array([decimal.Decimal(n) / 4 for n in range(100_000)], pa.decimal128(12, 2)),
        "tags": pa.array([["a", None] if n % 2 else None for n in range(100_000)], pa.list_(pa.string())),
        "info": pa.array([{"x": n, "y": "z"} for n in range(100_000)]),
        "large": pa.array([2**64 - 1 - n for n in range(100_000)], pa.uint64()),
    })
    parquet, stream, file = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, row_group_size=30_000)
    with pa.ipc.new_stream(stream, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=20_000)
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    bodies = {
        "parquet": ("application/vnd.apache.parquet", parquet), "stream": ("application/vnd.apache.arrow.stream", stream),
        "file": ("application/vnd.apache.arrow.file", file),
    }
    for name, (content, body) in bodies.items():
        sql(f"CREATE TABLE from_{name} (id bigint) WITH (tidemill.evolve = 'add_columns')")
        report = json.loads(post(f"/v1/ingest/from_{name}", body.getvalue(), content))
        assert (report["rows"], report["dead_letters"]) == (100_000, 0), report
        back = pa.ipc.open_stream(sql(f"SELECT * FROM from_{name} ORDER BY id", "arrow")).read_all()
        assert back.num_rows == 100_000
        assert back["id"].equals(table["id"])
        assert back["name"].to_pylist() == table["name"].to_pylist()
        assert back["price"].to_pylist() == table["price"].to_pylist()
        assert back["tags"].to_pylist() == table["tags"].to_pylist()
        assert back["at"].cast(pa.timestamp("ns", "UTC")).equals(table["at"])
        assert [int(value) for value in back["large"].to_pylist()[:3]] == [2**64 - 1, 2**64 - 2, 2**64 - 3]
        assert json.loads(back["info"][7].as_py()) == {"x": 7, "y": "z"}
        assert back.schema.field("info").metadata[b"tidemill.type"] == b"jsonb"
    print("pyarrow: fine")


main()
