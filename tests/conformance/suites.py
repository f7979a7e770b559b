#!/usr/bin/env python3
"""The drivers' own test suites, against PostgreSQL and Tidemill.

    tests/conformance/run.sh [BINARY] --suites [--only NAME,...] [--results FILE] [--update-readme]

The suites come with the drivers' source packages. Only tests that pass on PostgreSQL here count, but for those of OUTSIDE; less than 90 % of
them is a failure.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

import matrix

PREPARE = {
    "asyncpg": [],
    "pg8000": ["CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'secret'", "CREATE DATABASE pg8000_test"],
    "psycopg2": ["CREATE DATABASE psycopg2_test"],
}
# Tests of what is no part of Tidemill's mission: not counted, and listed with their number.
OUTSIDE = {
    r"test_lobject": "large objects",
    r"tpc_|two_phase|TwoPhase": "two-phase commit",
    r"xml": "XML",
    r"tsvector|hstore|Hstore": "text search and extensions",
    r"point|polygon|circle|\bbox\b|line_roundtrip|lseg|path_roundtrip": "geometry",
    # asyncpg's make functions of their own, and the types of extensions.
    r"callproc|test_enum_function_return|test_exceptions_str|test_log_listener_02": "functions and procedures of users",
    r"test_custom_codec_(binary|text)$|test_extra_codec_alias|test_unhandled_type_fallback|test_unknown_type_text_fallback|"
    r"test_introspection_no_stmt_cache": "text search and extensions",
}
# Seconds.
LIMIT = 1200


def fetch(name, work):
    """The folder of the suite's source package, downloaded once."""
    suites = pathlib.Path(work) / "suites"
    suites.mkdir(exist_ok=True)
    found = [path for path in suites.glob(f"{name}-*") if path.is_dir()]
    if found:
        return found[0]
    python = f"{work}/venv/bin/python"
    shown = subprocess.run([python, "-m", "pip", "show", "psycopg2-binary" if name == "psycopg2" else name], capture_output=True, text=True)
    version = re.search(r"^Version: (.*)$", shown.stdout, re.M)
    if not version:
        return None
    subprocess.run([python, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps", "-d", str(suites),
                    f"{name}=={version[1]}"], check=False, capture_output=True)
    for archive in suites.glob(f"{name}-*.tar.gz"):
        subprocess.run(["tar", "xzf", archive.name], cwd=suites, check=True)
    found = [path for path in suites.glob(f"{name}-*") if path.is_dir()]
    return found[0] if found else None


def psql(server, sql):
    host, port, user, database = server.split(":")
    return subprocess.run(["psql", "-XqAt", "-h", host, "-p", port, "-U", user, "-d", database, "-c", sql],
                          env={**os.environ, "PGPASSWORD": "secret"}, capture_output=True, text=True)


def run(name, folder, server, work):
    """{test: passed | failed | skipped}"""
    host, port, user, database = server.split(":")
    for statement in PREPARE[name]:
        psql(server, statement)
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("PG")}, "PGHOST": host, "PGPORT": port,
                   "PGPASSWORD": "secret", "PGUSER": user, "PGDATABASE": database, "PSYCOPG2_TESTDB": "psycopg2_test",
                   "PSYCOPG2_TESTDB_USER": user, "LC_ALL": "C.UTF-8"}
    if name == "pg8000":
        del environment["PGDATABASE"]
    if name == "asyncpg":
        # Its pools connect to this one, whatever the rest does.
        environment["PGDATABASE"] = "postgres"
    report = pathlib.Path(work) / f"{name}.{port}.xml"
    report.unlink(missing_ok=True)
    tests = {"asyncpg": "tests", "pg8000": "test", "psycopg2": "tests"}[name]
    # The installed driver is tested, not the sources beside the tests.
    box = pathlib.Path(work) / "suites" / f"run.{name}"
    box.mkdir(exist_ok=True)
    link = box / tests
    if not link.exists():
        link.symlink_to(folder / tests)
    command = [f"{work}/venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60",
               f"--junitxml={report}", "--tb=native", "--assert=plain", tests]
    with open(pathlib.Path(work) / f"{name}.{port}.log", "w") as log:
        try:
            subprocess.run(command, cwd=box, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            print(f"{name} on {server}: killed after {LIMIT} s")
    results = {}
    if report.exists():
        for case in xml.parse(report).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            outcome = "skipped" if "skipped" in kinds else "failed" if kinds & {"failure", "error"} else "passed"
            results[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", required=True)
    parser.add_argument("--tidemill", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--results")
    parser.add_argument("--update-readme", action="store_true", help="write the pass rates into the README")
    arguments = parser.parse_args()
    for server in (arguments.postgres, arguments.tidemill):
        # With the first password, Tidemill wants one of everybody.
        psql(server, f"ALTER ROLE {server.split(':')[2]} PASSWORD 'secret'")
    failed, table = False, []
    for name in PREPARE:
        if arguments.only and name not in arguments.only.split(","):
            continue
        folder = fetch(name, arguments.work)
        if folder is None:
            print(f"!!! SKIPPED suite {name}: its sources cannot be had here")
            continue
        oracle = run(name, folder, arguments.postgres, arguments.work)
        ours = run(name, folder, arguments.tidemill, arguments.work)
        good = [test for test, outcome in oracle.items() if outcome == "passed"]
        outside = {test: why for test in good for pattern, why in OUTSIDE.items() if re.search(pattern, test)}
        counted = [test for test in good if test not in outside]
        passed = [test for test in counted if ours.get(test) == "passed"]
        rate = len(passed) / max(len(counted), 1)
        version = folder.name.rsplit("-", 1)[1]
        print(f"{'ok    ' if rate >= 0.9 else 'FAILED'} suite {name} {version}: {len(passed)} of {len(counted)} ({rate:.1%})")
        for why in sorted(set(outside.values())):
            print(f"  not counted: {list(outside.values()).count(why)} tests of {why}")
        for test in counted:
            if ours.get(test) != "passed":
                print(f"  {ours.get(test, 'not run')}: {test}")
        failed |= rate < 0.9
        table.append({"suite": name, "version": version, "passed": len(passed), "counted": len(counted), "outside": len(outside)})
    if arguments.results:
        pathlib.Path(arguments.results).write_text(json.dumps(table, indent=1))
    if arguments.update_readme:
        matrix.suites(table)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
