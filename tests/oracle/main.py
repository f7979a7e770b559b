"""Asks both servers; see run.sh. A case is a table or two and questions about them, all from the seed and its number."""
import os
import random
import sys
import time

import asof
import buckets
import gapfill
import queries
import resample
import servers

# Cases of each kind: about forty seconds for all of them on two busy cores, with a binary that is not optimized.
KINDS = {"buckets": (buckets, 60), "gapfill": (gapfill, 45), "asof": (asof, 30), "resample": (resample, 30),
         "queries": (queries, 40)}
# Asked only by name: they find differences that are not mended yet.
BY_NAME = ["queries"]
FAILURES_MAX = 5


def check(case, tidemill, postgres):
    """How many rows the questions had for answers, how many had an error, and the differences."""
    for sql in case.setup:
        tidemill.run(sql)
        postgres.run(sql)
    found, rows, errors = [], 0, 0
    for question in case.questions:
        got = tidemill.ask(question.tidemill, question.parameters)
        wanted = postgres.ask(question.postgres)
        rows, errors = rows + len(wanted.rows or []), errors + bool(wanted.error)
        words = question.compare(got, wanted)
        if words:
            found.append(f"{words}\n-- Tidemill {list(question.parameters) or ''}\n{question.tidemill};\n-- PostgreSQL\n{question.postgres};")
    for sql in case.teardown:
        tidemill.run(sql)
        postgres.run(sql)
    return rows, errors, found


def main(kinds):
    seed = os.environ.get("TIDEMILL_ORACLE_SEED") or str(random.SystemRandom().randrange(1 << 32))
    only = os.environ.get("TIDEMILL_ORACLE_CASE")
    print(f"TIDEMILL_ORACLE_SEED={seed}")
    tidemill, postgres = servers.both()
    with open("functions.sql", encoding="utf-8") as functions:
        postgres.run(functions.read())
    failures = 0
    for kind in kinds or [kind for kind in KINDS if kind not in BY_NAME]:
        module, count = KINDS[kind]
        count = int(os.environ.get("TIDEMILL_ORACLE_CASES") or count)
        started, asked, rows, errors = time.monotonic(), 0, 0, 0
        for number in [int(only)] if only else range(count):
            case = module.case(random.Random(f"{seed} {kind} {number}"))
            more_rows, more_errors, found = check(case, tidemill, postgres)
            asked, rows, errors = asked + len(case.questions), rows + more_rows, errors + more_errors
            for words in found:
                failures += 1
                print(f"\n!!! {kind}, TIDEMILL_ORACLE_CASE={number}\n" + ";\n".join(case.setup) + f";\n{words}")
            if failures >= FAILURES_MAX:
                break
        print(f"{kind}: {asked} questions in {number + 1} cases, {rows} rows, {errors} errors, in {time.monotonic() - started:.1f} s")
    if failures:
        sys.exit(f"!!! {failures} answers differ; TIDEMILL_ORACLE_SEED={seed}")


main(sys.argv[1:])
