#!/usr/bin/env python3
"""The statements of DataFusion's own sqllogictest files, asked of PostgreSQL and Tidemill.

    tests/oracle/engine.sh [BINARY] [FILE…]

DataFusion's expectations are DataFusion's; what counts here is PostgreSQL's answer to the same statement. A statement that
PostgreSQL refuses is left out (those files are full of another dialect); where it answers, Tidemill must answer the same.
External tables become tables of the same columns with rows made up here, as their files are not part of the package.
Differences that are meant, or not mended yet, are in engine_known.txt, one statement a line with the reason; entries that meet
nothing are errors.
"""
import collections
import math
import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sql"))
from oracle import Session  # noqa: E402

# About settings, plans, files and types that only DataFusion has.
LEFT_OUT = re.compile(r"^(encrypted|parquet|avro|explain|arrow|copy|metadata|options|spark|information_schema|tpch|clickbench|imdb)")
TYPES = {"tinyint unsigned": "smallint", "smallint unsigned": "integer", "int unsigned": "bigint", "bigint unsigned": "numeric(20)",
         "tinyint": "smallint", "double": "double precision", "float": "real", "string": "text", "utf8view": "text", "bytea": "bytea"}


class Record:
    def __init__(self, sql, line):
        self.sql, self.line = sql, line


def records(text):
    lines, at, skip = text.split("\n"), 0, False
    while at < len(lines):
        words = lines[at].split()
        if words[:1] in (["onlyif"], ["skipif"]):
            # What is for PostgreSQL only sets it up with files that are not here.
            skip = words[:2] == ["onlyif", "postgres"]
        if words[:1] not in (["statement"], ["query"]):
            at += 1
            continue
        start, at, sql = at, at + 1, []
        while at < len(lines) and lines[at].strip() and lines[at] != "----":
            sql.append(lines[at])
            at += 1
        if not skip:
            yield Record("\n".join(sql), start + 1)
        skip = False
        # An expectation may hold empty lines only where it ends.
        while at < len(lines) and lines[at].strip():
            at += 1


def columns_of(sql):
    """(table, [(column, type)]) of CREATE EXTERNAL TABLE with a list of columns."""
    match = re.match(r"create\s+(?:unbounded\s+)?external\s+table\s+(?:if\s+not\s+exists\s+)?([\w.\"]+)\s*\((.*?)\)\s*(?:stored|location|with|options)",
                     sql, re.I | re.S)
    if not match:
        return None
    columns = []
    for part in re.split(r",(?![^(]*\))", match[2]):
        words = re.sub(r"\s+", " ", re.sub(r"--.*", "", part)).strip()
        name, _, rest = words.partition(" ")
        rest = re.sub(r"(?i)\b(not )?null\b", "", rest).strip().lower()
        columns.append((name, TYPES.get(rest, rest)))
    return match[1], columns


def made_up(place, kind, source):
    """A hundred values: of a column among the first two few are different, of others all, as rows with equal keys come in any order."""
    def value(number):
        few = number % 5 if place < 2 else number * 37 % 101
        if kind.startswith(("smallint", "int", "bigint", "numeric", "decimal")):
            return str(few - 2 if place < 2 else few * 13 - 600)
        if kind.startswith(("double", "real")):
            return str(few / 8 - 3)
        if kind.startswith("bool"):
            return source.choice(["true", "false"])
        if kind.startswith("date"):
            return f"'2024-01-01'::date + {few}"
        if kind.startswith("timestamp"):
            return f"'2024-01-01'::timestamp + interval '{few} hours'"
        return f"'{'abcde'[few] if place < 2 else f'{few:03}x'}'"

    values = [value(number) for number in range(100)]
    if place >= 2:
        values[17] = "NULL"
    return values


def external(sql):
    """The statements that make a table of an external one."""
    found = columns_of(sql)
    if not found:
        return None
    table, columns = found
    source = random.Random(table)
    made = [made_up(place, kind, source) for place, (_, kind) in enumerate(columns)]
    rows = ",".join("(" + ",".join(row) + ")" for row in zip(*made))
    described = ", ".join(f"{name} {kind}" for name, kind in columns)
    return [f"CREATE TABLE {table} ({described})", f"INSERT INTO {table} VALUES {rows}"]


def same(ours, theirs):
    if ours == theirs:
        return True
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=1e-5)
    except ValueError:
        return False


def equal(ours, theirs, sql):
    """Rows in any order: few of these statements order by enough columns, and with LIMIT they ask for any of many rows then."""
    if len(ours) != len(theirs):
        return False
    if re.search(r"\blimit\b", sql, re.I):
        return True
    return all(len(a) == len(b) and all(map(same, a, b)) for a, b in zip(sorted(ours), sorted(theirs)))


def main():
    postgres, tidemill, folder, only = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4:]
    known = {}
    listed = HERE / "engine_known.txt"
    for line in listed.read_text().splitlines() if listed.exists() else []:
        if line.strip() and not line.startswith("#"):
            statement, _, reason = line.partition("  -- ")
            known[statement] = reason
    met, counts, failures = set(), collections.Counter(), 0
    admins = [Session(server, user, database) for server, user, database in
              ((postgres, "postgres", "postgres"), (tidemill, "tidemill", "tidemill"))]
    for number, path in enumerate(sorted(folder.rglob("*.slt"))):
        name = str(path.relative_to(folder))
        if LEFT_OUT.match(name) or only and not any(part in name for part in only):
            continue
        for admin in admins:
            admin.query(f"CREATE DATABASE engine_{number}")
        theirs = Session(postgres, "postgres", f"engine_{number}")
        ours = Session(tidemill, "tidemill", f"engine_{number}")
        for session in (theirs, ours):
            session.query("SET timezone = 'UTC'; SET statement_timeout = '30s'")
        for record in records(path.read_text()):
            # Plans and settings are everybody's own.
            if re.match(r"\s*(explain|set datafusion|show|reset)", record.sql, re.I):
                continue
            for sql in external(record.sql) or [record.sql]:
                kinds, rows, tag, error = theirs.query(sql)
                if error:
                    counts["refused by PostgreSQL"] += 1
                    continue
                our_kinds, our_rows, our_tag, our_error = ours.query(sql)
                if our_error is None and (kinds is None or equal(our_rows, rows, sql)):
                    counts["equal"] += 1
                    continue
                text = " ".join(sql.split())[:300].strip()
                if text in known:
                    met.add(text)
                    counts["known"] += 1
                    continue
                failures += 1
                said = f"{our_error['C']}: {our_error['M']}" if our_error else f"{our_rows[:3]}"
                print(f"{name}:{record.line}: {text}\n    tidemill   {said[:300]}\n    postgresql {str(rows[:3])[:300]}")
        for session in (theirs, ours):
            session.socket.close()
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())), f"and {failures} different")
    stale = set() if only else set(known) - met
    for text in sorted(stale):
        print(f"engine_known.txt has what is not met any more: {text}")
    sys.exit(1 if failures or stale else 0)


if __name__ == "__main__":
    main()
