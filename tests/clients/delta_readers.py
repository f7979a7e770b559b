"""Other programs read our tables by path: equal row counts and sums. Needs deltalake; DuckDB and Polars where installed.

    delta_readers.py DATA_DIR       with PGHOST and friends saying where the server is
"""
import pathlib
import subprocess
import sys


def ask(sql):
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], check=True, capture_output=True, text=True)
    return done.stdout.strip().split("\n")[-1]


def deltalake_reader(path):
    import deltalake
    table = deltalake.DeltaTable(str(path)).to_pyarrow_table()
    import pyarrow.compute as pc
    return table.num_rows, pc.sum(table["id"]).as_py(), round(pc.sum(table["v"]).as_py() or 0, 6)


def duckdb_reader(path):
    import duckdb
    connection = duckdb.connect()
    connection.execute("INSTALL delta; LOAD delta")
    count, ids, total = connection.execute("SELECT count(*), sum(id), sum(v) FROM delta_scan(?)", [str(path)]).fetchone()
    return count, int(ids), round(total, 6)


def polars_reader(path):
    import polars
    frame = polars.read_delta(str(path))
    return frame.height, frame["id"].sum(), round(frame["v"].sum(), 6)


def main():
    data = pathlib.Path(sys.argv[1])
    ask("DROP TABLE IF EXISTS delta_check")
    ask("CREATE TABLE delta_check (id bigint, ts timestamptz, name text, v float8, n numeric(12,3), d date, tags text[], doc jsonb) "
        "WITH (tidemill.flush_interval = '200ms')")
    ask("INSERT INTO delta_check SELECT x, '2024-01-01'::timestamptz + x * interval '1 second', 'name ' || x % 7, x / 3.0, x / 8.0, "
        "'2024-01-01'::date + (x % 30)::int, ARRAY['t' || x % 3, NULL], '{\"x\": 1}' FROM generate_series(1, 50000) AS g(x)")
    ask("CHECKPOINT")
    ask("DELETE FROM delta_check WHERE id % 10 = 0")
    ask("UPDATE delta_check SET v = v + 1 WHERE id % 10 = 1")
    ask("INSERT INTO delta_check (id, v) VALUES (100001, 0.5)")
    ask("CHECKPOINT")
    oid = ask("SELECT 'delta_check'::regclass::oid")
    expected = tuple(ask("SELECT count(*), sum(id), round(sum(v)::numeric, 6) FROM delta_check").split("|"))
    expected = (int(expected[0]), int(float(expected[1])), float(expected[2]))
    path = data / "tables" / oid
    readers = {"deltalake": deltalake_reader, "duckdb": duckdb_reader, "polars": polars_reader}
    passed = []
    for name, reader in readers.items():
        try:
            found = reader(path)
        except ImportError as error:
            print(f"!!! SKIPPED {name}: {error}")
            continue
        except Exception as error:  # DuckDB's delta extension is downloaded, which may not be possible here.
            if name == "duckdb" and "xtension" in str(error):
                print(f"!!! SKIPPED {name}: {str(error).splitlines()[0]}")
                continue
            raise
        assert found[:2] == expected[:2] and abs(found[2] - expected[2]) < 1e-3, f"{name}: {found} is not {expected}"
        passed.append(name)
    assert "deltalake" in passed
    ask("DROP TABLE delta_check")
    print("read alike by", ", ".join(passed))


main()
