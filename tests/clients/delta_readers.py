"""Reads tables that Tidemill wrote with other programs' Delta Lake readers, and compares row counts and sums.

    delta_readers.py TABLE_FOLDER COLUMN ROWS SUM     one table: SUM(COLUMN) and COUNT(*) must be these
    delta_readers.py ROOT                             the tables that ROOT/expected.json lists

Readers: Python `deltalake` (delta-rs) always; Polars' `scan_delta` where it can read the table (it cannot yet read
renamed columns). Every column is read, not only the summed one. Needs: pip install deltalake polars pyarrow
"""

import json
import pathlib
import sys

import deltalake
import polars
import pyarrow
import pyarrow.compute


def by_deltalake(folder, column):
    """Rows and sum as delta-rs sees them, after reading all columns."""
    table = deltalake.DeltaTable(folder)
    if "columnMapping" in (table.protocol().reader_features or []):
        # PyArrow's reader, which to_pyarrow_table uses, knows no column mapping: the query engine in delta-rs does.
        builder = deltalake.QueryBuilder().register("t", table)
        data = pyarrow.table(builder.execute("SELECT * FROM t").read_all())
    else:
        data = table.to_pyarrow_table()
    return data.num_rows, pyarrow.compute.sum(data[column]).as_py()


def by_polars(folder, column):
    """Rows and sum as Polars sees them."""
    data = polars.scan_delta(folder).collect()
    return data.height, data[column].sum()


def check(folder, column, rows, total):
    """The names of the readers that agree; raises where one does not."""
    agreed = []
    mapped = "columnMapping" in (deltalake.DeltaTable(folder).protocol().reader_features or [])
    for name, read in (("deltalake", by_deltalake), ("polars", by_polars)):
        if name == "polars" and mapped:
            continue
        found = read(folder, column)
        if found != (rows, total):
            raise SystemExit(f"{folder}: {name} reads (rows, sum) = {found}, expected {(rows, total)}")
        agreed.append(name)
    return agreed


def main(arguments):
    if len(arguments) == 4:
        folder, column, rows, total = arguments
        cases = [(folder, column, int(rows), int(total))]
    elif len(arguments) == 1:
        root = pathlib.Path(arguments[0])
        cases = [
            (str(root / case["table"]), case["column"], case["rows"], case["sum"])
            for case in json.loads((root / "expected.json").read_text())
        ]
    else:
        raise SystemExit(__doc__)
    for case in cases:
        print(f"{case[0]}: {case[2]} rows, equal in {', '.join(check(*case))}")


if __name__ == "__main__":
    main(sys.argv[1:])
