#!/usr/bin/env python3
"""Stock clients against PostgreSQL and Tidemill: what both answer is recorded on the wire and compared.

    tests/conformance/run.sh [BINARY] [--only NAME,...] [--results FILE] [--update-readme]

A scenario (scenarios/*) is a program that uses a driver as its users do; it is told the server by PGHOST, PGPORT, PGUSER, PGPASSWORD
and PGDATABASE, prints what it saw, and fails if the driver does. It is run against both servers, each through a proxy; then its output and,
statement by statement, column names, type oids, typmods, rows, command tags, SQLSTATEs and transaction states must be equal. What may
differ is in expected.py, with a reason; an entry that meets nothing any more is an error, so that the list can only shrink.
"""
import argparse
import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import expected
import matrix
import wire

HERE = pathlib.Path(__file__).parent
# Seconds.
LIMIT = 300


class Server:
    """One of the two, with a database of the scenario's own."""

    def __init__(self, name, host, port, user, database):
        self.name, self.host, self.port, self.user, self.database = name, host, port, user, database

    def psql(self, sql, database=None):
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-p", str(self.port), "-U", self.user, "-d",
                   database or self.database, "-c", sql]
        environment = {**os.environ, "PGPASSWORD": "secret"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name}: {sql}: {done.stderr}")

    def run(self, scenario, work):
        """(exit code, output, recorded connections)"""
        # One database name on both, so that what names it is equal.
        database = "conformance"
        self.psql(f"DROP DATABASE IF EXISTS {database}")
        self.psql(f"CREATE DATABASE {database}")
        proxy = wire.Proxy(self.host, self.port)
        folder = pathlib.Path(work) / f"{scenario.name}.{self.name}"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "PGHOST": proxy.address[0], "PGPORT": str(proxy.address[1]), "PGUSER": "alice", "PGPASSWORD": "secret",
            "PGDATABASE": database, "HOME": str(folder), "TZ": "UTC", "PAGER": "cat", "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"], "WORK": str(work), "PYTHONHASHSEED": "0",
        }
        try:
            done = subprocess.run(scenario.command, env=environment, cwd=folder, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="backslashreplace", timeout=LIMIT)
            code, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as late:
            code, output = 124, (late.stdout or b"").decode(errors="backslashreplace") + f"\n(killed after {LIMIT} s)"
        time.sleep(0.2)
        proxy.close()
        return code, output, proxy.connections


class Scenario:
    """A program of scenarios/, its client and the client's version."""

    def __init__(self, path, client, command, version):
        self.name, self.client, self.command, self.version = path.stem, client, command, version
        self.about = matrix.about(path)


def scenarios(work):
    """Those whose client is installed; [(client, why)] of the others."""
    python = f"{work}/venv/bin/python"
    runners = {".py": [python], ".mjs": ["node"], ".sh": ["bash"], ".pl": ["perl"], ".php": ["php"], ".rb": ["ruby", "-W0"], ".java": [], ".rs": []}
    tools = json.loads(pathlib.Path(f"{work}/clients.json").read_text())
    found, missing = [], []
    for path in sorted((HERE / "scenarios").iterdir()):
        # client.what.extension
        name = path.stem
        client = name.rsplit(".", 1)[0]
        version = tools.get(client)
        runner = runners[path.suffix]
        if version is None:
            missing.append((client, "it cannot be installed here"))
        elif path.suffix == ".java":
            folder = pathlib.Path(work) / name
            folder.mkdir(exist_ok=True)
            source = folder / "Driver.java"
            source.write_bytes(path.read_bytes())
            subprocess.run(["javac", "-cp", f"{work}/java/postgresql.jar", "-d", str(folder), str(source)], check=True)
            command = ["java", "-cp", f"{folder}:{work}/java/postgresql.jar", "Driver"]
            found.append(Scenario(path, client, command, version))
        elif path.suffix == ".rs":
            found.append(Scenario(path, client, [f"{work}/rust/target/debug/{client}"], version))
        elif path.suffix == ".mjs":
            # Modules are looked for beside the program.
            copy = pathlib.Path(work) / path.name
            copy.write_bytes(path.read_bytes())
            found.append(Scenario(path, client, [*runner, str(copy)], version))
        else:
            found.append(Scenario(path, client, [*runner, str(path)], version))
    return found, missing


class Difference:
    """One thing that is not equal."""

    def __init__(self, scenario, kind, sql, left, right):
        self.scenario, self.kind, self.sql, self.left, self.right = scenario, kind, sql, left, right

    def __str__(self):
        return f"[{self.kind}] {' '.join(self.sql.split())[:300]}\n    PostgreSQL: {self.left}\n    Tidemill:   {self.right}"


ORDERED = re.compile(r"\border\s+by\b", re.I)
INNERMOST = re.compile(r"\([^()]*\)")
USER_OIDS_FROM = 16384


def cells(result):
    """Rows as they are compared: oids of users' objects are others, and without ORDER BY the order is free."""
    kinds = [column[1] for column in result.columns] if isinstance(result.columns, list) else []
    forms = [column[4] for column in result.columns] if isinstance(result.columns, list) else []

    def one(at, value):
        if value is None:
            return None
        kind, binary = (kinds[at], forms[at]) if at < len(kinds) else (25, 0)
        if kind in (26, 24, 2202, 2205, 2206) and binary:
            return "<oid>" if int.from_bytes(value, "big") >= USER_OIDS_FROM else value.hex()
        if binary:
            return value.hex()
        return wire.OID.sub("<oid>", wire.text(value))

    rows = [[one(at, value) for at, value in enumerate(row)] for row in result.rows]
    outermost, inner = result.sql, 1
    while inner:
        outermost, inner = INNERMOST.subn("", outermost)
    if not ORDERED.search(outermost):
        rows.sort(key=str)
    return rows


def described(result):
    if not isinstance(result.columns, list):
        return result.columns
    return [(name, kind if kind < USER_OIDS_FROM else "<oid>", size, typmod, form, of_table)
            for name, kind, size, typmod, form, of_table in result.columns]


def differences(scenario, left, right):
    """What two results of one statement do not have in common."""
    found = []

    def differ(kind, one, other):
        found.append(Difference(scenario, kind, left.sql, shorten(one), shorten(other)))

    if (left.error or {}).get("C") != (right.error or {}).get("C"):
        return [Difference(scenario, "error", left.sql, told(left.error), told(right.error))]
    if left.error:
        if left.error.get("M") != right.error.get("M"):
            differ("message", told(left.error), told(right.error))
        return found
    if described(left) != described(right):
        differ("columns", described(left), described(right))
    elif cells(left) != cells(right):
        one, other = cells(left), cells(right)
        differ("rows", [row for row in one if row not in other] or f"{len(one)} rows",
               [row for row in other if row not in one] or f"{len(other)} rows")
    if left.tag != right.tag:
        differ("tag", left.tag, right.tag)
    if left.parameters != right.parameters:
        differ("parameters", left.parameters, right.parameters)
    if left.status != right.status:
        differ("status", left.status, right.status)
    if left.copy != right.copy:
        differ("copy", left.copy[:500], right.copy[:500])
    return found


def told(error):
    return f"{error.get('C')}: {error.get('M')}" if error else "no error"


def shorten(value):
    value = str(value)
    return value if len(value) <= 1500 else value[:1500] + " …"


def compare(scenario, left, right):
    """All differences of two runs."""
    found = []
    if left[0] != 0:
        found.append(Difference(scenario, "oracle", "the scenario fails on PostgreSQL", left[1][-1500:], ""))
    if right[0] != 0:
        found.append(Difference(scenario, "client", "the scenario fails on Tidemill", "", right[1][-3000:]))
    if len(left[2]) != len(right[2]):
        found.append(Difference(scenario, "connections", "", len(left[2]), len(right[2])))
    for before, after in zip(left[2], right[2]):
        try:
            before, after = before.statements(), after.statements()
        except ValueError as odd:
            found.append(Difference(scenario, "protocol", str(odd), "", ""))
            continue
        matcher = difflib.SequenceMatcher(None, [wire.shape(result.sql) for result in before],
                                          [wire.shape(result.sql) for result in after], autojunk=False)
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag == "equal":
                for x, y in zip(before[a:b], after[c:d]):
                    found += differences(scenario, x, y)
            else:
                found += [Difference(scenario, "statement", x.sql, "sent", "not sent") for x in before[a:b]]
                found += [Difference(scenario, "statement", y.sql, "not sent", "sent") for y in after[c:d]]
    one, other = (wire.OID.sub("<oid>", run[1]).splitlines() for run in (left, right))
    if not found and one != other:
        # What a client prints follows from what it was told: where that differs, it is named above.
        lines = list(difflib.unified_diff(one, other, "PostgreSQL", "Tidemill", lineterm="", n=0))[2:]
        found.append(Difference(scenario, "output", "", "", "\n".join(lines)))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", required=True, help="HOST:PORT:USER:DATABASE")
    parser.add_argument("--tidemill", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--results", help="a file for what passed, as JSON")
    parser.add_argument("--update-readme", action="store_true", help="write what passed into the README")
    arguments = parser.parse_args()
    servers = []
    for name in ("postgres", "tidemill"):
        host, port, user, database = getattr(arguments, name).split(":")
        servers.append(Server(name, host, port, user, database))
    for server in servers:
        server.psql("DROP DATABASE IF EXISTS conformance")
        server.psql("DROP ROLE IF EXISTS alice")
        # With the first password, Tidemill wants one of everybody.
        server.psql(f"ALTER ROLE {server.user} PASSWORD 'secret'")
        server.psql("CREATE ROLE alice SUPERUSER LOGIN PASSWORD 'secret'")
    found, missing = scenarios(arguments.work)
    only = [name for name in arguments.only.split(",") if name]
    results, failed, used = [], 0, set()
    for client, why in missing:
        print(f"!!! SKIPPED {client}: {why}")
    for scenario in found:
        if only and not any(scenario.name.startswith(name) for name in only):
            continue
        runs = [server.run(scenario, arguments.work) for server in servers]
        unexpected, seen = [], set()
        for difference in compare(scenario.name, *runs):
            if str(difference) in seen:
                continue
            seen.add(str(difference))
            known = [number for number, entry in enumerate(expected.DIFFERENCES) if entry.allows(difference)]
            used.update(known)
            if not known:
                unexpected.append(difference)
        statements = sum(connection.count() for connection in runs[0][2])
        print(f"{'ok    ' if not unexpected else 'FAILED'} {scenario.name} ({scenario.version}): {statements} statements")
        # Statements that only one of them was sent follow from what went wrong before.
        unexpected.sort(key=lambda difference: difference.kind == "statement")
        for difference in unexpected[:40]:
            print(f"  {difference}")
        if len(unexpected) > 40:
            print(f"  … and {len(unexpected) - 40} more")
        sys.stdout.flush()
        failed += bool(unexpected)
        results.append({"client": scenario.client, "scenario": scenario.name, "version": scenario.version, "about": scenario.about,
                        "statements": statements, "passed": not unexpected})
    if not only and not missing:
        for number, entry in enumerate(expected.DIFFERENCES):
            if number not in used:
                failed += 1
                print(f"FAILED expected.py: nothing is as in “{entry.reason}” ({entry.scenario}, {entry.sql!r}) any more: remove it")
    if arguments.results:
        pathlib.Path(arguments.results).write_text(json.dumps(results, indent=1))
    if arguments.update_readme:
        if only or missing:
            raise SystemExit("the README lists all clients: none may be left out")
        matrix.clients(results)
    passed = sum(row["passed"] for row in results)
    print(f"conformance: {passed} of {len(results)} scenarios are as on PostgreSQL")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
